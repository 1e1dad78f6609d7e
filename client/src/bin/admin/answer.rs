//! What a command answers: JSON for programs, and the same as text for people.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table};
use serde_json::{Value, json};

/// One answer in both forms. The fields of the JSON are documented in the command's help, and stay as they are.
#[derive(Debug)]
pub(crate) struct Answer {
    json: Value,
    text: String,
}

impl Answer {
    /// JSON, and what people see instead of it.
    pub(crate) fn new(json: Value, text: String) -> Self {
        Self { json, text }
    }

    /// A list of things: all of their fields as JSON, the named ones as a table.
    pub(crate) fn list(rows: Vec<Value>, columns: &[&str]) -> Self {
        let text = table(&rows, columns);
        Self { json: rows.into(), text }
    }

    /// One thing: an object, or a table with one row.
    pub(crate) fn one(row: Value, columns: &[&str]) -> Self {
        let text = table(std::slice::from_ref(&row), columns);
        Self { json: row, text }
    }

    /// A word and what it is about: `dropped: NAME`.
    pub(crate) fn said(word: &str, what: &str) -> Self {
        Self { json: json!({ word: what }), text: format!("{word}: {what}") }
    }

    /// People see one more line below it.
    pub(crate) fn and_below(mut self, line: &str) -> Self {
        self.text.push('\n');
        self.text.push_str(line);
        self
    }

    /// One of the two forms.
    pub(crate) fn show(&self, as_json: bool) -> String {
        if as_json { self.json.to_string() } else { self.text.clone() }
    }
}

/// The named fields of each row.
pub(crate) fn table(rows: &[Value], columns: &[&str]) -> String {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns);
    for row in rows {
        table.add_row(columns.iter().map(|&column| cell(&row[column])));
    }
    table.to_string()
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}
