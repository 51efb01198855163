//! Just enough Rust to check it as text: what is comment or quoted, where a block ends, what a path names.

/// How many characters a comment, a quoted text or a quoted character takes that starts at `at`, and how many of them at
/// either end stay; `None` when none starts there.
fn quoted(chars: &[char], at: usize) -> Option<(usize, usize)> {
    let starts = |what: &str| what.chars().enumerate().all(|(n, c)| chars.get(at + n) == Some(&c));
    let until = |from: usize, end: &str| {
        let end: Vec<char> = end.chars().collect();
        let found = chars[from.min(chars.len())..].windows(end.len()).position(|window| window == end);
        found.map_or(chars.len(), |n| from + n + end.len()) - at
    };
    let in_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    if starts("//") {
        return Some((chars[at..].iter().position(|c| *c == '\n').unwrap_or(chars.len() - at), 0));
    }
    if starts("/*") {
        return Some((until(at + 2, "*/"), 0));
    }
    if starts("r\"") || starts("r#") && !in_word {
        let marks = chars[at + 1..].iter().take_while(|c| **c == '#').count();
        if chars.get(at + 1 + marks) == Some(&'"') {
            return Some((until(at + 2 + marks, &format!("\"{}", "#".repeat(marks))), 0));
        }
    }
    if starts("\"") || starts("'\\") {
        let mut end = at + 1;
        while end < chars.len() && chars[end] != chars[at] {
            end += if chars[end] == '\\' { 2 } else { 1 };
        }
        return Some((end.min(chars.len() - 1) + 1 - at, 1));
    }
    (starts("'") && chars.get(at + 2) == Some(&'\'')).then_some((3, 1))
}

/// The text with comments and quoted text replaced by blanks; lines stay where they are.
pub fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    while at < chars.len() {
        let Some((len, kept)) = quoted(&chars, at) else {
            out.push(chars[at]);
            at += 1;
            continue;
        };
        for (n, c) in chars[at..at + len].iter().enumerate() {
            let keep = *c == '\n' || n < kept || n + kept >= len;
            out.push(if keep { *c } else { ' ' });
        }
        at += len;
    }
    out
}

/// Where the block ends whose opening brace is the first one in `code`; also where a `;` comes before any brace, but for that
/// of an array's type.
pub fn block_end(code: &str) -> usize {
    let (mut depth, mut brackets) = (0, 0);
    for (at, c) in code.char_indices() {
        match c {
            '[' => brackets += 1,
            ']' => brackets -= 1,
            '{' => depth += 1,
            '}' if depth <= 1 => return at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 && brackets == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// The code without what is built for tests only.
pub fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    while let Some(at) = out.find("#[cfg(test)]") {
        let end = at + block_end(&out[at..]);
        let blanked: String = out[at..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(at..end, &blanked);
    }
    out
}

/// Byte offsets of a word that stands alone.
pub fn word_offsets<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let (before, after) = (code[..*at].chars().next_back(), code[at + word.len()..].chars().next());
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// The line of a byte offset, from 1.
pub fn line_of(code: &str, offset: usize) -> usize {
    code[..offset].matches('\n').count() + 1
}

/// The first names of what follows a `::`: of a path, or of each member of a braced list.
fn first_names(code: &str) -> Vec<&str> {
    let first = |path: &'_ str| path.split(|c: char| !c.is_alphanumeric() && c != '_').next().map(str::len);
    let name = |path: &'_ str| first(path).unwrap_or(0);
    let Some(list) = code.strip_prefix('{') else { return vec![&code[..name(code)]] };
    let (mut names, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                let member = list[start..at].trim_start();
                names.push(&member[..name(member)]);
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    names
}

/// What is named behind `root::`, with the line.
pub fn named_under<'a>(code: &'a str, root: &'a str) -> impl Iterator<Item = (usize, &'a str)> + 'a {
    word_offsets(code, root).flat_map(move |at| {
        let rest = code[at + root.len()..].strip_prefix("::").unwrap_or_default();
        let names = first_names(rest).into_iter().filter(|name| !name.is_empty());
        names.map(move |name| (line_of(code, at), name))
    })
}

#[test]
fn what_is_quoted_or_said_is_blanked_and_lines_stay() {
    let text = "let a = \"x { \\\" y\"; // crate::app\n/* { \n */ let b = r#\"} \"\"#; let c = '{'; let d: &'static str = '\\'';\n";
    let code = blank(text);
    assert_eq!(code.lines().count(), text.lines().count());
    assert!(!code.contains(['{', '}', 'x', 'y']) && !code.contains("app"), "{code}");
    for kept in ["let a = ", "let b = ", "let c = ", "let d: &'static str = "] {
        assert!(code.contains(kept), "{kept} in {code}");
    }
}

#[test]
fn every_name_of_a_path_or_list_is_seen() {
    let code = "use crate::{\n    event::{Event, app::X}, record,\n    units::Span};\nfn a() { crate::time::now() } pub(crate) fn b() {}";
    let named: Vec<_> = named_under(code, "crate").collect();
    assert_eq!(named, [(1, "event"), (1, "record"), (1, "units"), (4, "time")]);
}
