//! A `config.ini` and options that make no sense: an error of one line, never a panic.

use hostile::{harmed, noise, peak};
use proptest::prelude::*;
use settings::Settings;

#[global_allocator]
static ALLOCATOR: hostile::Counting = hostile::Counting;

const SHIPPED: &str = include_str!("../../../config.ini");

/// Text made of what a configuration file is made of.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "[replication]",
        "[core]",
        "[apps.replica]",
        "[task.",
        "[",
        "]",
        "\n",
        "\n",
        "=",
        " = ",
        "lease_ms",
        "data_dir",
        "servers",
        "replica1",
        "127.0.0.1:1",
        ",",
        ";",
        "#",
        "\"",
        "'",
        "18446744073709551616",
        "-1",
        "0",
        "1e9",
        "true",
        "\u{feff}",
        "\0",
        "..",
        "${HOME}",
        "ü",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat().into_bytes())
}

fn parse(bytes: &[u8]) -> Result<Settings, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.ini");
    std::fs::write(&file, bytes).expect("writes");
    let (settings, peak) = peak(|| Settings::load(&file, &[]));
    // The parser builds a tree of maps, and each setting is described in case it is wrong.
    assert!(peak <= 64 * bytes.len() + (256 << 10), "{peak} bytes for {}", bytes.len());
    settings.map_err(|error| error.to_string())
}

#[test]
fn what_ships_is_taken() {
    parse(SHIPPED.as_bytes()).expect("it makes sense");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_file_is_taken_or_refused_in_one_line(
        bytes in prop_oneof![noise(), pieces(), harmed(Just(SHIPPED.as_bytes().to_vec()))],
    ) {
        if let Err(error) = parse(&bytes) {
            prop_assert_eq!(error.lines().count(), 1, "{}", error);
        }
    }

    #[test]
    fn any_override_is_taken_or_refused_in_one_line(bytes in prop_oneof![noise(), pieces()]) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        for text in [text.clone(), format!("replication.lease_ms={text}"), format!("core.data_dir={text}")] {
            if let Err(error) = Settings::from_defaults(&[text]) {
                prop_assert_eq!(error.to_string().lines().count(), 1, "{}", error);
            }
        }
    }
}
