//! The words that a line of a scenario is made of: nodes, links, spans, configurations, states.

use std::time::Duration;

use words::{Ballot, Decree, Gpid, NodeId};

/// What is wrong with a line, for whoever wrote it.
pub(super) type Parsed<T> = Result<T, String>;

/// The words of one line, taken one after the other.
pub(super) struct Line<'a> {
    words: Vec<&'a str>,
    at: usize,
}

/// Somebody who sends and receives messages: a machine by its index, or the meta server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Party {
    Machine(usize),
    Meta,
}

/// From whom to whom; `None` is everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) from: Option<Party>,
    pub(crate) to: Option<Party>,
    pub(crate) both_ways: bool,
}

/// `{3,r1,[r2,r3]}`; no ballot is `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WantedConfiguration {
    pub(super) ballot: Option<Ballot>,
    pub(super) primary: Option<NodeId>,
    pub(super) secondaries: Vec<NodeId>,
}

/// `{r1,pri,3,17}`, `{r1,down}` or `{r1,none}`; a number that is not given is `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WantedState {
    pub(super) node: NodeId,
    pub(super) role: String,
    pub(super) ballot: Option<Ballot>,
    pub(super) committed: Option<Decree>,
}

/// How the roles are printed, and what else a node can be.
const ROLES: [&str; 7] = ["pri", "sec", "pot", "ina", "err", "down", "none"];

impl<'a> Line<'a> {
    /// Cuts a line into words; what stands in braces is one.
    pub(super) fn new(text: &'a str) -> Self {
        let mut words = Vec::new();
        let (mut depth, mut start) = (0_usize, None);
        for (at, character) in text.char_indices() {
            match character {
                '{' | '[' => depth += 1,
                '}' | ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if character.is_whitespace() && depth == 0 {
                words.extend(start.take().map(|start: usize| &text[start..at]));
            } else if start.is_none() {
                start = Some(at);
            }
        }
        words.extend(start.map(|start| &text[start..]));
        Self { words, at: 0 }
    }

    pub(super) fn peek(&self) -> Option<&'a str> {
        self.words.get(self.at).copied()
    }

    /// The word before, which is the verb.
    pub(super) fn verb(&self) -> &'a str {
        self.words[self.at - 1]
    }

    pub(super) fn is_over(&self) -> bool {
        self.at == self.words.len()
    }

    /// The next word, which is to be `what`.
    pub(super) fn next(&mut self, what: &str) -> Parsed<&'a str> {
        let word = self.peek().ok_or_else(|| format!("{what} is missing"))?;
        self.at += 1;
        Ok(word)
    }

    /// Takes `word` if it comes next.
    pub(super) fn take(&mut self, word: &str) -> bool {
        let comes = self.peek() == Some(word);
        self.at += usize::from(comes);
        comes
    }

    pub(super) fn must(&mut self, word: &str) -> Parsed<()> {
        match self.peek() {
            _ if self.take(word) => Ok(()),
            Some(other) => Err(format!("`{word}` is wanted, not `{other}`")),
            None => Err(format!("`{word}` is missing")),
        }
    }

    pub(super) fn end(&self) -> Parsed<()> {
        self.peek().map_or(Ok(()), |word| Err(format!("`{word}` is one word too many")))
    }

    /// One of a table's names.
    pub(super) fn one_of<T: Copy>(&mut self, what: &str, table: &[(&str, T)]) -> Parsed<T> {
        let word = self.next(what)?;
        let found = table.iter().find(|(name, _)| *name == word).map(|&(_, value)| value);
        found.ok_or_else(|| {
            let known: Vec<&str> = table.iter().map(|&(name, _)| name).collect();
            format!("`{word}` is no {what}; known are {}", known.join(", "))
        })
    }

    pub(super) fn number(&mut self, what: &str) -> Parsed<u64> {
        let word = self.next(what)?;
        word.parse().map_err(|_| format!("{what} is a number, not `{word}`"))
    }

    /// `500us`, `20ms` or `3s`.
    pub(super) fn span(&mut self, what: &str) -> Parsed<Duration> {
        let word = self.next(what)?;
        span(word).ok_or_else(|| format!("{what} is a span like 500us, 20ms or 3s, not `{word}`"))
    }

    /// A node that has its first data directory: the machine of that number.
    pub(super) fn machine(&mut self) -> Parsed<usize> {
        machine(self.next("a node")?)
    }

    pub(super) fn machines(&mut self) -> Parsed<Vec<usize>> {
        let mut machines = vec![self.machine()?];
        while let Some(index) = self.peek().and_then(|word| machine(word).ok()) {
            machines.push(index);
            self.at += 1;
        }
        Ok(machines)
    }

    pub(super) fn node(&mut self) -> Parsed<NodeId> {
        node(self.next("a node")?)
    }

    pub(super) fn party(&mut self) -> Parsed<Party> {
        party(self.next("a node, or `meta`,")?)
    }

    /// `r1 -> r2`, `all <-> meta`.
    pub(super) fn link(&mut self) -> Parsed<Link> {
        let from = self.next("who sends, or `all`,")?;
        let both_ways = match self.next("`->`")? {
            "->" => false,
            "<->" => true,
            other => return Err(format!("`->` or `<->` is wanted, not `{other}`")),
        };
        let to = self.next("who receives, or `all`,")?;
        let end = |word| if word == "all" { Ok(None) } else { party(word).map(Some) };
        Ok(Link { from: end(from)?, to: end(to)?, both_ways })
    }

    /// A partition, if one is named; the first one as a rule.
    pub(super) fn gpid(&mut self) -> Gpid {
        match self.peek().and_then(|word| word.parse().ok()) {
            Some(gpid) => {
                self.at += 1;
                gpid
            }
            None => Gpid::new(1, 0),
        }
    }

    pub(super) fn configuration(&mut self) -> Parsed<WantedConfiguration> {
        let word = self.next("a configuration")?;
        configuration(word).ok_or_else(|| format!("a configuration is like {{3,r1,[r2,r3]}}, not `{word}`"))
    }

    pub(super) fn states(&mut self) -> Parsed<Vec<WantedState>> {
        let mut states = Vec::new();
        while let Some(word) = self.peek().filter(|word| word.starts_with('{')) {
            self.at += 1;
            let what = || format!("a state is like {{r1,pri,3,17}} or {{r1,down}}, not `{word}`");
            states.push(state(word).ok_or_else(what)?);
        }
        if states.is_empty() { Err("a state like {r1,pri,3,17} is missing".to_owned()) } else { Ok(states) }
    }
}

fn span(word: &str) -> Option<Duration> {
    let unit = word.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = word[..unit].parse().ok()?;
    match &word[unit..] {
        "us" => Some(Duration::from_micros(number)),
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        _ => None,
    }
}

fn node(word: &str) -> Parsed<NodeId> {
    let number = word.strip_prefix('r').and_then(|number| number.parse().ok()).filter(|&n: &u128| n > 0);
    number.map(NodeId).ok_or_else(|| format!("`{word}` is no node; nodes are r1, r2, ..."))
}

fn machine(word: &str) -> Parsed<usize> {
    let node = node(word)?;
    usize::try_from(node.0).map(|number| number - 1).map_err(|_| format!("there is no {word}"))
}

fn party(word: &str) -> Parsed<Party> {
    if word == "meta" { Ok(Party::Meta) } else { machine(word).map(Party::Machine) }
}

/// `None` for `*`.
fn wildcard(word: &str) -> Option<Option<u64>> {
    if word == "*" { Some(None) } else { word.parse().ok().map(Some) }
}

fn configuration(word: &str) -> Option<WantedConfiguration> {
    let word: String = word.split_whitespace().collect();
    let inner = word.strip_prefix('{')?.strip_suffix('}')?;
    let (ballot, rest) = inner.split_once(',')?;
    let (primary, rest) = rest.split_once(',')?;
    let list = rest.strip_prefix('[')?.strip_suffix(']')?;
    let mut secondaries = Vec::new();
    for name in list.split(',').filter(|name| !name.is_empty()) {
        secondaries.push(node(name).ok()?);
    }
    secondaries.sort_unstable();
    let primary = if primary == "-" { None } else { Some(node(primary).ok()?) };
    Some(WantedConfiguration { ballot: wildcard(ballot)?.map(Ballot), primary, secondaries })
}

fn state(word: &str) -> Option<WantedState> {
    let word: String = word.split_whitespace().collect();
    let parts: Vec<&str> = word.strip_prefix('{')?.strip_suffix('}')?.split(',').collect();
    let (&name, &role) = (parts.first()?, parts.get(1)?);
    let at = |index: usize| parts.get(index).map_or(Some(None), |word| wildcard(word));
    let whole = if matches!(role, "down" | "none") { parts.len() == 2 } else { parts.len() == 4 };
    (whole && ROLES.contains(&role)).then_some(WantedState {
        node: node(name).ok()?,
        role: role.to_owned(),
        ballot: at(2)?.map(Ballot),
        committed: at(3)?.map(Decree),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_hold_a_word_together() {
        let mut line = Line::new(" expect  config {3, r1, [r3, r2]} now");
        line.must("expect").unwrap();
        line.must("config").unwrap();
        let wanted = line.configuration().unwrap();
        assert_eq!(wanted, configuration("{3,r1,[r2,r3]}").unwrap());
        assert!(line.take("now") && line.is_over());
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(Line::new("r0").machine().unwrap_err().contains("`r0` is no node"));
        assert!(Line::new("{r1,foo,3,4}").states().unwrap_err().contains("a state is like"));
        assert!(Line::new("{r1,pri,3}").states().is_err() && Line::new("{r1,down,3,4}").states().is_err());
        assert!(Line::new("3 s").span("a span").unwrap_err().contains("not `3`"));
        assert!(Line::new("r1 => r2").link().unwrap_err().contains("`->`"));
    }
}
