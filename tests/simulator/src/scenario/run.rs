//! Carries out a scenario, line by line, and says what became of it.

use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use super::arms::Script;
use super::expect::{Condition, Judgement, PATIENCE, When};
use super::parse::Scenario;
use crate::clock::{Clock, Moment};
use crate::dice::Dice;
use crate::ending::RECOVERY;
use crate::run::last_panic;
use crate::tally_app::TallySubject;
use crate::trace::Trace;
use crate::violation::{Checked, Violation};
use crate::world::{World, trace};

/// Where a scenario went wrong, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioFailure {
    /// The file.
    pub name: String,
    /// The line's number.
    pub number: usize,
    /// What stands there.
    pub line: String,
    /// What was wrong: a rule that was broken, or `expected`.
    pub violation: Violation,
}

impl fmt::Display for ScenarioFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}\n    in: {}", self.name, self.number, self.violation, self.line)
    }
}

/// Runs a scenario to its end; how much time it simulated.
///
/// # Errors
/// The first line at which an expectation was not met or a rule broken.
pub fn run_scenario(scenario: &Scenario, trace: &mut Trace) -> Result<Duration, ScenarioFailure> {
    let mut at = 0;
    let result = panic::catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::with(&TallySubject, scenario.setup.plan.clone(), Dice::loaded(), trace);
        world.script = Script::on();
        for (index, machine) in world.machines.iter_mut().enumerate() {
            machine.clock = clock(scenario.setup.fast_clocks.contains(&index), &scenario.setup.plan.settings);
        }
        let mut leave = false;
        for (number, statement) in &scenario.lines {
            at = *number;
            trace!(world, "scenario", "{number}: {}", scenario.text[number - 1].trim());
            leave |= *statement == super::parse::Statement::LeaveAsIs;
            world.carry_out_statement(statement)?;
        }
        if !leave {
            world.settle()?;
        }
        world.end_operations()?;
        Ok(world.now.since_start())
    }));
    let violation = match result {
        Ok(Ok(simulated)) => return Ok(simulated),
        Ok(Err(violation)) => violation,
        Err(panic) => Violation { rule: "panic", what: last_panic(panic.as_ref()) },
    };
    let line = scenario.text[at.max(1) - 1].trim().to_owned();
    Err(ScenarioFailure { name: scenario.name.clone(), number: at, line, violation })
}

fn clock(fast: bool, settings: &replica_core::Settings) -> Clock {
    let more = if fast { u64::from(settings.clock_ratio_permille) * 1000 } else { 0 };
    Clock {
        since: Moment::default(),
        offset_ns: 1 << 40,
        rate_ppm: 1_000_000 + more,
        wall_offset_us: 1_700_000_000_000_000,
    }
}

/// An expectation that was not met.
pub(super) fn expected(what: String) -> Violation {
    Violation { rule: "expected", what }
}

impl World<'_> {
    /// Lets the next thing happen, if it is due by then; otherwise time passes until then. False if it does.
    fn pass(&mut self, until: Moment) -> Result<bool, Violation> {
        if self.agenda.next_at().is_none_or(|at| at > until) {
            self.now = until;
            return Ok(false);
        }
        self.happen_next()?;
        for machine in std::mem::take(&mut self.script.struck) {
            // It had nothing more to do after what set the strike off.
            if let Some((strike, _)) = self.machines[machine].strike.take() {
                self.strike(machine, strike, false);
            }
        }
        Ok(true)
    }

    pub(super) fn advance(&mut self, span: Duration) -> Checked {
        let until = self.now + span;
        while self.pass(until)? {}
        Ok(())
    }

    /// Lets things happen until it is so.
    pub(super) fn wait(
        &mut self,
        patience: Duration,
        mut judge: impl FnMut(&mut Self) -> Result<Judgement, Violation>,
    ) -> Checked {
        let until = self.now + patience;
        loop {
            let last = match judge(self)? {
                Judgement::Holds => return Ok(()),
                Judgement::Never(what) => return Err(expected(format!("{what}; {}", self.describe_all()))),
                Judgement::NotYet(what) => what,
            };
            if !self.pass(until)? {
                return Err(expected(format!("after {patience:?} {last}; {}", self.describe_all())));
            }
        }
    }

    pub(super) fn expect(&mut self, condition: &Condition, when: When) -> Checked {
        let before = match condition {
            Condition::Sent(pattern) => self.script.sent(pattern),
            _ => 0,
        };
        match when {
            When::Within(patience) => self.wait(patience, |world| Ok(world.judge(condition, before))),
            When::Now => self.holds(condition, before),
            When::For(span) => {
                let until = self.now + span;
                self.holds(condition, before)?;
                while self.pass(until)? {
                    self.holds(condition, before)?;
                }
                Ok(())
            }
        }
    }

    fn holds(&self, condition: &Condition, before: u64) -> Checked {
        match self.judge(condition, before) {
            Judgement::Holds => Ok(()),
            Judgement::Never(what) | Judgement::NotYet(what) => {
                Err(expected(format!("{what}; {}", self.describe_all())))
            }
        }
    }

    fn describe_all(&self) -> String {
        let lines: Vec<String> = self.gpids.iter().map(|&gpid| self.describe(gpid)).collect();
        lines.join("; ")
    }

    /// Nothing is in anybody's way any more: all recovers by itself, serves writes and reads, and all members
    /// come to the same state (L1, V2, S12).
    pub(super) fn settle(&mut self) -> Checked {
        self.script.arms.clear();
        self.release(None);
        self.network.heal();
        self.start_meta()?;
        for index in 0..self.machines.len() {
            self.machines[index].strike = None;
            self.machines[index].slow_until = Moment::default();
            if self.machines[index].frozen_until > self.now {
                self.machines[index].frozen_until = self.now;
                self.wake_by(index, self.now);
            }
            self.start(index)?;
        }
        for gpid in self.gpids.clone() {
            if self.meta.configuration(gpid).is_some() && self.can_live(gpid) {
                self.wait(RECOVERY, |world| {
                    Ok(world.unhealthy(gpid).map_or(Judgement::Holds, Judgement::NotYet))
                })?;
                self.serve(gpid)?;
                self.wait(PATIENCE, |world| {
                    Ok(world.unequal(gpid)?.map_or(Judgement::Holds, Judgement::NotYet))
                })?;
            }
        }
        Ok(())
    }
}
