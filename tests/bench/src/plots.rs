//! The curves of `docs/benchmarks.md`.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

use crate::cell::Cell;
use crate::load::Measured;
use crate::page::Page;
use crate::system::Kind;

const SIZE: (u32, u32) = (760, 420);

/// A curve's points: clients, figure.
type Points = Vec<(f64, f64)>;

/// What a chart shows: in its file's name, in words, and where it is found.
type Figure = (&'static str, &'static str, fn(&Measured) -> f64);

const FIGURES: [Figure; 2] = [
    ("throughput", "operations a second", |it| it.ops_per_s),
    ("p99", "99 of a hundred are faster, milliseconds", |it| it.p99_ms),
];

/// Draws them into a folder; answers the files' names with what they show.
///
/// # Errors
/// What the plotting library says.
pub(crate) fn draw(
    page: &Page,
    folder: &Path,
) -> Result<Vec<(String, String)>, Box<dyn Error + Send + Sync>> {
    let mut drawn = Vec::new();
    if page.plan.clients.len() < 2 {
        return Ok(drawn);
    }
    for &bytes in &page.plan.bytes {
        for &mix in &page.plan.mixes {
            let word = mix.word();
            for (file, unit, figure) in FIGURES {
                let name = format!("{word}-{bytes}-{file}.svg");
                let title = format!("{}, {bytes} bytes: {unit}", mix.name());
                let curves = page.kinds.iter().map(|&kind| {
                    let point = |&clients: &usize| {
                        let median = page.median(kind, Cell { bytes, mix, clients }, figure)?;
                        Some((clients as f64, median.median))
                    };
                    (kind, page.plan.clients.iter().filter_map(point).collect::<Points>())
                });
                let curves = curves.filter(|(_, points)| !points.is_empty());
                chart(&folder.join(&name), &title, &curves.collect::<Vec<(Kind, Points)>>())?;
                drawn.push((name, title));
            }
        }
    }
    Ok(drawn)
}

fn chart(file: &Path, title: &str, curves: &[(Kind, Points)]) -> Result<(), Box<dyn Error + Send + Sync>> {
    let all = || curves.iter().flat_map(|(_, points)| points).filter(|(_, y)| y.is_finite() && *y > 0.0);
    let range = |of: fn(&(f64, f64)) -> f64| {
        all().map(of).fold((f64::MAX, 0.0_f64), |(low, high), it| (low.min(it), high.max(it)))
    };
    let ((left, right), (low, high)) = (range(|it| it.0), range(|it| it.1));
    if high <= 0.0 {
        return Ok(());
    }
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 17))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(70)
        .build_cartesian_2d((left..right * 1.01).log_scale(), (low / 1.5..high * 1.5).log_scale())?;
    chart.configure_mesh().x_desc("clients").light_line_style(WHITE).draw()?;
    for (kind, points) in curves {
        let colour = match kind {
            Kind::Kv => RGBColor(0xc0, 0x39, 0x2b),
            Kind::Counter => RGBColor(0xe6, 0x9f, 0x00),
            Kind::KvInOne => RGBColor(0xe8, 0x8f, 0x85),
            Kind::CounterInOne => RGBColor(0xf5, 0xd1, 0x7a),
            Kind::Etcd => RGBColor(0x2c, 0x6f, 0xb3),
            Kind::Echo => RGBColor(0x77, 0x77, 0x77),
        };
        let style = colour.stroke_width(2);
        let line = chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
        line.label(kind.name()).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        chart.draw_series(points.iter().map(|&point| Circle::new(point, 3, colour.filled())))?;
    }
    chart.configure_series_labels().background_style(WHITE).border_style(BLACK.mix(0.3)).draw()?;
    area.present()?;
    Ok(())
}
