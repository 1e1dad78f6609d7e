//! `forgetful MOUNTPOINT`: mounts an empty disk, and does what standard input says, a line each, until it ends:
//! `cut lost`, `cut kept`, `cut torn NUMBER`, `cut journaled NUMBER`, `restore`, `lie`.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use forgetful::{Disk, Forgetful, Outcome};

fn main() -> ExitCode {
    let Some(mountpoint) = std::env::args_os().nth(1) else {
        eprintln!("forgetful MOUNTPOINT");
        return ExitCode::from(2);
    };
    match run(Path::new(&mountpoint)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", Path::new(&mountpoint).display());
            ExitCode::FAILURE
        }
    }
}

fn run(mountpoint: &Path) -> io::Result<()> {
    let disk = Forgetful::mount(mountpoint, Disk::default())?;
    println!("mounted");
    for line in io::stdin().lines() {
        let line = line?;
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["cut", "lost"] => disk.cut_power(Outcome::Lost),
            ["cut", "kept"] => disk.cut_power(Outcome::Kept),
            ["cut", "torn", number] => disk.cut_power(Outcome::Torn(parse(number)?)),
            ["cut", "journaled", number] => disk.cut_power(Outcome::Journaled(parse(number)?)),
            ["restore"] => disk.restore_power(),
            ["lie"] => disk.lie(),
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("what is `{line}`?"))),
        }
        println!("done");
    }
    disk.unmount().map(drop)
}

fn parse(number: &str) -> io::Result<u64> {
    number
        .parse()
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("`{number}` is no number")))
}
