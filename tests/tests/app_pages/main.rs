//! Each page of docs/apps/ is replayed, command by command, on the four processes of the `config.ini` that ships.
//!
//! # What a page is
//! Fenced blocks that are tagged `console` are what somebody does in the clone's folder, with the programs on `PATH`
//! and a fresh cluster running; all else is prose.
//! * A line `$ COMMAND` is typed. The lines below it, up to the next command, are exactly what is printed: standard
//!   output, then standard error. A last line `[exit code N]` is there if the code is not 0.
//! * `...` within a line stands for any text, a line that is only `...` for any number of lines.
//! * `$ kill -9 $(cat data/replica2/lock)` (or `-STOP`, `-CONT`; without one: SIGTERM) and
//!   `$ replica-server --name replica2 &` end and start a server.
//! * A block tagged `console session` is a program that goes on: `$ COMMAND` begins it, `> TEXT` is typed to it, and
//!   all else is what it prints on either output, waited for before more is typed. The block ends and the program goes
//!   on in the next `console session`, until `> ^D` (end of input) or `> ^C` was typed, what follows that is printed
//!   and it has ended. Several at once have names: `console session left`.
//! * The addresses of `config.ini` stand for those that the cluster of the test has.
//!
//! docs/write-an-app.md is done in the same way, in an empty folder: a block whose tag is a language and a path is a file.
//!
//! Each session of a page must have ended when the page ends. A page of a new app is one line more in [`pages!`].

mod page;
mod replay;
mod session;

macro_rules! pages {
    ($($name:ident),+) => {
        $(#[test]
        fn $name() {
            replay::page(stringify!($name));
        })+

        #[test]
        fn each_page_is_replayed() {
            assert_eq!(page::names(), [$(stringify!($name)),+]);
        }
    };
}

// In the order of the alphabet.
pages!(card, counter, echo, election, kv);

#[test]
fn an_app_is_written_from_an_empty_folder() {
    replay::template();
}
