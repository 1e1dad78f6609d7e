//! All mistakes in one program, so that it is compiled once: every function that a mistake changes gets a body
//! for each, and chooses among them by [`CHOICE`].

use std::collections::BTreeMap;

/// What the crate that all others know gets, to choose by.
pub(crate) const CHOICE: &str = r#"
extern crate self as words;
/// The number of the mistake that is made, from the environment; 0 is none.
pub fn mistake() -> u16 {
    static MADE: std::sync::OnceLock<u16> = std::sync::OnceLock::new();
    *MADE.get_or_init(|| std::env::var("MISTAKE").ok().and_then(|made| made.parse().ok()).unwrap_or(0))
}
"#;

/// A function's name, and which of that name it is in its file.
type Key = (String, usize);

/// A piece of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// What is in no function.
    Between(Vec<String>),
    /// A function: up to the opening brace, what is inside, and the closing brace.
    Function { key: Key, head: Vec<String>, body: Vec<String>, end: String },
}

/// One file with all its variants in it, each under its number.
pub(crate) fn weave(base: &str, variants: &[(u16, String)]) -> Result<String, String> {
    let pieces = split(base);
    let mut weaver = Weaver { pieces: pieces.clone(), ..Weaver::default() };
    for (number, variant) in variants {
        weaver.add(&pieces, *number, split(variant))?;
    }
    Ok(weaver.finish().join("\n") + "\n")
}

#[derive(Default)]
struct Weaver {
    pieces: Vec<Piece>,
    /// What variants have in place of a function's body.
    bodies: BTreeMap<Key, Vec<(u16, Vec<String>)>>,
    /// What variants have before the piece of this index.
    more: BTreeMap<usize, Vec<Piece>>,
}

impl Weaver {
    /// Takes notice of what one variant has beyond, or in place of, what the base has.
    fn add(&mut self, base: &[Piece], number: u16, variant: Vec<Piece>) -> Result<(), String> {
        let mut at = 0;
        for new in variant {
            match (self.pieces.get_mut(at), base.get(at), new) {
                (Some(Piece::Between(here)), _, Piece::Between(lines)) => merge(here, lines),
                (
                    Some(Piece::Function { head: here, .. }),
                    Some(Piece::Function { key, head, body, .. }),
                    Piece::Function { key: new_key, head: new_head, body: new_body, .. },
                ) if *key == new_key => {
                    if new_head != *head {
                        *here = new_head; // more may call it
                    }
                    if new_body != *body {
                        self.bodies.entry(new_key).or_default().push((number, new_body));
                    }
                }
                (_, _, new) => {
                    let more = self.more.entry(at).or_default();
                    if !more.contains(&new) {
                        more.push(new);
                    }
                    continue;
                }
            }
            at += 1;
        }
        if at == base.len() { Ok(()) } else { Err(format!("mistake {number} takes a function away")) }
    }

    fn finish(mut self) -> Vec<String> {
        let mut woven = Vec::new();
        for (at, piece) in self.pieces.into_iter().enumerate() {
            for piece in self.more.remove(&at).into_iter().flatten().chain([piece]) {
                match piece {
                    Piece::Between(lines) => woven.extend(lines),
                    Piece::Function { key, head, body, end } => {
                        woven.extend(head);
                        choose(&mut woven, self.bodies.remove(&key).unwrap_or_default(), body);
                        woven.push(end);
                    }
                }
            }
        }
        woven
    }
}

/// A body that is one of several.
fn choose(woven: &mut Vec<String>, others: Vec<(u16, Vec<String>)>, body: Vec<String>) {
    if others.is_empty() {
        return woven.extend(body);
    }
    woven.push("match ::words::mistake() {".to_owned());
    for (number, other) in others {
        woven.push(format!("{number} => {{"));
        woven.extend(other);
        woven.push("}".to_owned());
    }
    woven.push("_ => {".to_owned());
    woven.extend(body);
    woven.push("} }".to_owned());
}

/// What is outside of functions can only grow: imports, and the like.
fn merge(here: &mut Vec<String>, lines: Vec<String>) {
    let mut at = 0;
    for line in lines.into_iter().filter(|line| !line.trim().is_empty()) {
        match here.iter().skip(at).position(|known| *known == line) {
            Some(further) => at += further + 1,
            None => {
                here.insert(at, line);
                at += 1;
            }
        }
    }
}

/// Cuts a file, as rustfmt leaves it, into functions and what is between.
fn split(text: &str) -> Vec<Piece> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut pieces = Vec::new();
    let mut between = Vec::new();
    let mut lines = text.lines().map(str::to_owned).peekable();
    while let Some(line) = lines.next() {
        let Some(name) = function_name(&line) else {
            between.push(line);
            continue;
        };
        let end = format!("{}}}", &line[..line.len() - line.trim_start().len()]);
        let mut head = vec![line];
        while !head.last().is_some_and(|last| last.ends_with(['{', ';', '}'])) {
            head.extend(lines.next());
        }
        if !head.last().is_some_and(|last| last.ends_with('{')) {
            between.extend(head); // declared only, or on one line
            continue;
        }
        let mut body = Vec::new();
        while let Some(line) = lines.next_if(|line| *line != end) {
            body.push(line);
        }
        lines.next();
        pieces.push(Piece::Between(std::mem::take(&mut between)));
        let count = counts.entry(name.clone()).or_default();
        *count += 1;
        pieces.push(Piece::Function { key: (name, *count), head, body, end });
    }
    pieces.push(Piece::Between(between));
    pieces
}

/// The name, if a function begins on this line.
fn function_name(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let word = words.find(|word| !word.starts_with("pub") && !matches!(*word, "unsafe" | "async"))?;
    if word != "fn" {
        return None;
    }
    let name: String = words.next()?.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str =
        "use a;\n\nfn one() -> u8 {\n    1\n}\n\nimpl X {\n    fn two() -> u8 {\n        2\n    }\n}\n";

    #[test]
    fn a_changed_body_becomes_an_arm() {
        let woven =
            weave(BASE, &[(7, BASE.replace("        2", "        3"))]).expect("nothing is taken away");
        assert!(woven.contains("fn one() -> u8 {\n    1\n}\n"), "{woven}");
        let arms = "match ::words::mistake() {\n7 => {\n        3\n}\n_ => {\n        2\n} }\n    }\n";
        assert!(woven.contains(arms), "{woven}");
    }

    #[test]
    fn what_is_new_is_added_once() {
        let more = BASE.replace("use a;\n", "use a;\nuse b;\n").replace("fn one", "pub fn one");
        let more = more.replace("impl X {\n", "impl X {\n    fn three() {\n    }\n\n");
        let woven = weave(BASE, &[(1, more.clone()), (2, more)]).expect("nothing is taken away");
        for once in ["use b;", "pub fn one", "fn three"] {
            assert_eq!(woven.matches(once).count(), 1, "{once}: {woven}");
        }
    }

    #[test]
    fn nothing_is_taken_away() {
        assert!(weave(BASE, &[(1, "use a;\n".to_owned())]).is_err());
    }
}
