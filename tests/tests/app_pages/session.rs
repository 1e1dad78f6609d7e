//! A program that is typed to.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::page::{ANYTHING, Line, Session, fits};

/// How long it may take to print a line, or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// The running program. Dropping it kills it.
pub(crate) struct Running {
    child: Child,
    /// Until the end of input was typed.
    input: Option<ChildStdin>,
    printed: Receiver<String>,
    /// What it printed last, for whoever reads why it failed.
    recent: VecDeque<String>,
    /// Whether lines may come that the page does not show.
    skips: bool,
    ends: bool,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        // Both outputs in the order in which they are written.
        let (reader, writer) = std::io::pipe().expect("a pipe");
        command.stdin(Stdio::piped()).stderr(writer.try_clone().expect("a second handle")).stdout(writer);
        let mut child = command.spawn().expect("it can be started");
        drop(command); // it holds the pipe open
        let input = child.stdin.take();
        let (lines, printed) = channel();
        thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, input, printed, recent: VecDeque::new(), skips: false, ends: false }
    }

    /// Plays one part; the next one goes on from there.
    pub(crate) fn play(&mut self, part: &Session) -> Result<(), String> {
        let mut code = 0;
        for (index, line) in part.lines.iter().enumerate() {
            let wrong = |what: String| {
                format!("line {}: {what}", part.at + index + 1 + usize::from(part.command.is_some()))
            };
            match line {
                Line::Typed(typed) => self.type_line(typed).map_err(wrong)?,
                Line::Printed(said) if said == ANYTHING => self.skips = true,
                Line::Printed(said) => self.expect(said).map_err(wrong)?,
                Line::Code(said) => code = *said,
            }
        }
        if self.ends { self.end(code).map_err(|what| format!("line {}: {what}", part.at)) } else { Ok(()) }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ends
    }

    fn type_line(&mut self, typed: &str) -> Result<(), String> {
        match typed {
            "^D" => (self.ends, self.input) = (true, None),
            "^C" => {
                let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
                kill_process(pid, Signal::INT).map_err(|error| format!("it has ended: {error}"))?;
                self.ends = true;
            }
            _ => {
                let input = self.input.as_mut().ok_or("after the end of input")?;
                writeln!(input, "{typed}").map_err(|error| format!("it takes no more input: {error}"))?;
            }
        }
        Ok(())
    }

    fn expect(&mut self, said: &str) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let line =
                self.next(deadline).map_err(|why| format!("{why} instead of `{said}`{}", self.before()))?;
            if fits(said, &line) {
                self.skips = false;
                return Ok(());
            }
            if !self.skips {
                return Err(format!("`{line}` instead of `{said}`{}", self.before()));
            }
        }
    }

    fn next(&mut self, deadline: Instant) -> Result<String, &'static str> {
        let left = deadline.saturating_duration_since(Instant::now());
        let line = self.printed.recv_timeout(left).map_err(|error| match error {
            RecvTimeoutError::Timeout => "nothing for a minute",
            RecvTimeoutError::Disconnected => "the end",
        })?;
        if self.recent.len() == 10 {
            self.recent.pop_front();
        }
        self.recent.push_back(line.clone());
        Ok(line)
    }

    /// After the end of input, or Ctrl-C.
    fn end(&mut self, code: i32) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.next(deadline) {
                Ok(line) if !self.skips => {
                    return Err(format!("`{line}` instead of its end{}", self.before()));
                }
                Ok(_) => {}
                Err("the end") => break,
                Err(why) => return Err(format!("{why} instead of its end{}", self.before())),
            }
        }
        // Its outputs are closed.
        let status = self.child.wait().expect("the state of a child");
        let found = status.code().unwrap_or(-1);
        if found == code {
            Ok(())
        } else {
            Err(format!("exit code {found} instead of {code}{}", self.before()))
        }
    }

    fn before(&self) -> String {
        let lines: Vec<String> = self.recent.iter().map(|line| format!("\n    {line}")).collect();
        format!("; it printed last:{}", lines.concat())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a process that is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
