//! The administration's messages are its manual for other languages: each service, call, message and field of
//! admin.proto, and of what it imports for itself, says what it is.

use std::path::Path;

/// Whether a line declares something that wants a word of explanation.
fn declares(line: &str) -> bool {
    let is_field = || line.contains(" = ") && line.contains(';') && !line.starts_with(['/', '}']);
    let is_setting = line.starts_with("syntax") || line.starts_with("option") || line.starts_with("import");
    let opens = ["service ", "rpc ", "message ", "enum ", "oneof "];
    !is_setting && (opens.iter().any(|word| line.starts_with(word)) || is_field())
}

fn undocumented(file: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto").join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    let mut before = "";
    let mut found = vec![];
    for (index, line) in text.lines().map(str::trim).enumerate() {
        let explained =
            before.starts_with("//") || line.split_once("; //").is_some_and(|(_, said)| said.len() > 3);
        if declares(line) && !explained {
            found.push(format!("{file}:{}: {line}", index + 1));
        }
        before = line;
    }
    found
}

#[test]
fn the_administration_is_documented() {
    let found: Vec<String> = ["admin.proto", "loss.proto"].into_iter().flat_map(undocumented).collect();
    assert!(found.is_empty(), "without a word of explanation:\n{}", found.join("\n"));
}

#[test]
fn a_missing_word_is_seen() {
    for line in ["rpc A(B) returns (C);", "string name = 1;", "message A {}", "repeated bytes learners = 3;"]
    {
        assert!(declares(line), "{line}");
    }
    for line in
        ["", "}", "// a = b;", "syntax = \"proto3\";", "import \"words.proto\";", "package holdfast.v1;"]
    {
        assert!(!declares(line), "{line}");
    }
}
