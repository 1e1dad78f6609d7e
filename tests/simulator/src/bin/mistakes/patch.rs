//! A planted mistake: a patch whose head says which rule it breaks, how, and what catches it.

use std::fs;
use std::path::Path;

/// One mistake.
#[derive(Debug)]
pub(crate) struct Mistake {
    /// The name of its file, without the extension.
    pub(crate) name: String,
    /// The rule that it leaves out.
    pub(crate) rule: String,
    /// What finds it.
    pub(crate) caught_by: CaughtBy,
    /// What it changes.
    files: Vec<(String, Vec<Hunk>)>,
}

/// What finds a mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CaughtBy {
    /// One of so many seeds of the simulator, from 0 on.
    Seeds(u64),
    /// The scenario file of this name.
    Scenario(String),
    /// A test of a package.
    Test(String, String),
}

/// Lines that stand in for others.
#[derive(Debug, Default)]
struct Hunk {
    /// Where they are, unless the file has changed before them.
    at: usize,
    old: Vec<String>,
    new: Vec<String>,
}

impl CaughtBy {
    fn parse(text: &str) -> Option<Self> {
        match text.split(' ').collect::<Vec<_>>()[..] {
            ["seeds", count] => Some(Self::Seeds(count.parse().ok()?)),
            ["scenario", name] => Some(Self::Scenario(name.to_owned())),
            ["test", package, name] => Some(Self::Test(package.to_owned(), name.to_owned())),
            _ => None,
        }
    }
}

impl Mistake {
    /// Reads all of a folder, by name.
    pub(crate) fn read_all(folder: &Path) -> Result<Vec<Self>, String> {
        let failed = |error| format!("{}: {error}", folder.display());
        let mut mistakes = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|extension| extension == "patch") {
                let text = fs::read_to_string(&path).map_err(failed)?;
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                mistakes.push(Self::parse(name, &text).map_err(|why| format!("{}: {why}", path.display()))?);
            }
        }
        mistakes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(mistakes)
    }

    fn parse(name: String, text: &str) -> Result<Self, String> {
        let head = |key: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(key));
            found.map(str::trim).ok_or_else(|| format!("its head has no line `{key}`"))
        };
        head("story:")?;
        let caught_by = head("caught by:")?;
        let caught_by = CaughtBy::parse(caught_by).ok_or_else(|| format!("what is `{caught_by}`?"))?;
        let mut files: Vec<(String, Vec<Hunk>)> = Vec::new();
        for line in text.lines().skip_while(|line| !line.starts_with("diff ")) {
            let (mark, rest) = line.split_at_checked(1).unwrap_or((" ", ""));
            if let Some(file) = line.strip_prefix("+++ b/") {
                files.push((file.to_owned(), Vec::new()));
                continue;
            }
            let Some((_, hunks)) = files.last_mut() else { continue };
            match (mark, hunks.last_mut()) {
                ("@", _) => {
                    let at = rest.split(['-', ',']).nth(1).and_then(|at| at.parse().ok());
                    let at: usize = at.ok_or_else(|| format!("where is `{line}`?"))?;
                    hunks.push(Hunk { at: at.saturating_sub(1), ..Hunk::default() });
                }
                ("d", _) => files.push((String::new(), Vec::new())),
                (_, None) => {}
                ("-", Some(hunk)) => hunk.old.push(rest.to_owned()),
                ("+", Some(hunk)) => hunk.new.push(rest.to_owned()),
                (_, Some(hunk)) => {
                    hunk.old.push(rest.to_owned());
                    hunk.new.push(rest.to_owned());
                }
            }
        }
        files.retain(|(file, hunks)| !file.is_empty() && !hunks.is_empty());
        let rule = head("rule:")?.to_owned();
        Ok(Self { name, rule, caught_by, files })
    }

    /// The files that it changes.
    pub(crate) fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|(file, _)| file.as_str())
    }

    /// A file with the mistake in it.
    pub(crate) fn make_in(&self, file: &str, text: &str) -> Result<String, String> {
        let mut lines: Vec<&str> = text.lines().collect();
        for (_, hunks) in self.files.iter().filter(|(name, _)| name == file) {
            // From the end, so that what comes before stays where it is.
            for hunk in hunks.iter().rev() {
                let here = |at: &usize| lines[*at..].iter().zip(&hunk.old).all(|(here, old)| here == old);
                let last = lines.len().saturating_sub(hunk.old.len());
                let found = (0..=last).filter(here).min_by_key(|at| at.abs_diff(hunk.at));
                let at = found.ok_or_else(|| format!("{} does not apply to {file}", self.name))?;
                lines.splice(at..at + hunk.old.len(), hunk.new.iter().map(String::as_str));
            }
        }
        Ok(lines.join("\n") + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str = "rule: §1\nstory: two is three\ncaught by: seeds 20\n\
        diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -2,3 +2,3 @@ fn\n one\n-two\n+three\n four\n";

    #[test]
    fn a_patch_is_found_where_its_lines_are() {
        let mistake = Mistake::parse("m".to_owned(), PATCH).expect("well formed");
        assert_eq!((mistake.rule.as_str(), &mistake.caught_by), ("§1", &CaughtBy::Seeds(20)));
        assert_eq!(
            mistake.make_in("x", "new\nzero\none\ntwo\nfour\n"),
            Ok("new\nzero\none\nthree\nfour\n".into())
        );
        assert!(mistake.make_in("x", "one\n2\nfour\n").is_err());
    }
}
