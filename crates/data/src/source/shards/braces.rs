//! Names of many files in one: `train-{000..146}.tar`, `{a,b}.tar`, and lists with commas.

/// Names that one text may stand for; more are taken for a slip of the keyboard.
const LIMIT: u64 = 1_000_000;

/// The names that a text stands for, in order: those of a list with commas, and of each its braces
/// multiplied out, the last of them running fastest.
///
/// # Errors
/// Braces that do not match, a range that is none, a million names or more; in words.
pub(super) fn expand(text: &str) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    for item in list(text)? {
        let mut heads = vec![String::new()];
        let mut rest = item;
        while let Some((before, inner, after)) = next_braces(rest)? {
            let choices = choices(inner)?;
            if (heads.len() * choices.len()) as u64 > LIMIT {
                return Err(format!("`{item}` stands for more than {LIMIT} files"));
            }
            let join = |head: &String| -> Vec<String> {
                choices.iter().map(|choice| format!("{head}{before}{choice}")).collect()
            };
            heads = heads.iter().flat_map(join).collect();
            rest = after;
        }
        names.extend(heads.into_iter().map(|head| head + rest));
    }
    Ok(names)
}

/// The items between the commas that are not in braces.
fn list(text: &str) -> Result<Vec<&str>, String> {
    let (mut items, mut start, mut depth) = (Vec::new(), 0, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(&text[start..]);
    match items.iter().any(|item| item.is_empty()) {
        true => Err(format!("`{text}` has nothing between two commas")),
        false => Ok(items),
    }
}

/// What stands before, in and after the first braces.
fn next_braces(text: &str) -> Result<Option<(&str, &str, &str)>, String> {
    let unbalanced = || format!("the braces of `{text}` do not match");
    let Some((before, rest)) = text.split_once('{') else {
        return if text.contains('}') { Err(unbalanced()) } else { Ok(None) };
    };
    let (inner, after) = rest.split_once('}').ok_or_else(unbalanced)?;
    match inner.contains('{') || before.contains('}') {
        true => Err(unbalanced()),
        false => Ok(Some((before, inner, after))),
    }
}

/// `a,b` or the numbers of `000..146`, filled up with zeros as the longer one is.
fn choices(inner: &str) -> Result<Vec<String>, String> {
    let Some((first, last)) = inner.split_once("..") else {
        return Ok(inner.split(',').map(str::to_owned).collect());
    };
    let wrong = || format!("{{{inner}}} is no range; one is written {{000..146}}");
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(first) || !is_number(last) {
        return Err(wrong());
    }
    let from: u64 = first.parse().map_err(|_| wrong())?;
    let to: u64 = last.parse().map_err(|_| wrong())?;
    if from > to {
        return Err(format!("{{{inner}}} runs downwards; a range begins with its smaller number"));
    }
    if to - from >= LIMIT {
        return Err(format!("{{{inner}}} stands for more than {LIMIT} files"));
    }
    let is_filled = |text: &str| text.len() > 1 && text.starts_with('0');
    let width = if is_filled(first) || is_filled(last) { first.len().max(last.len()) } else { 0 };
    Ok((from..=to).map(|number| format!("{number:0width$}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_and_commas_are_multiplied_out() {
        for (text, names) in [
            ("a.tar", &["a.tar"][..]),
            ("a.tar,b.tar", &["a.tar", "b.tar"]),
            ("t-{08..11}.tar", &["t-08.tar", "t-09.tar", "t-10.tar", "t-11.tar"]),
            ("t-{9..10}.tar", &["t-9.tar", "t-10.tar"]),
            (
                "t-{0..010}",
                &[
                    "t-000", "t-001", "t-002", "t-003", "t-004", "t-005", "t-006", "t-007", "t-008", "t-009",
                    "t-010",
                ],
            ),
            ("{a,b}/{0..1}.tar,c.tar", &["a/0.tar", "a/1.tar", "b/0.tar", "b/1.tar", "c.tar"]),
        ] {
            assert_eq!(expand(text).unwrap(), names, "{text}");
        }
        assert_eq!(expand("t-{000000..000146}.tar").unwrap().len(), 147);
    }

    #[test]
    fn what_is_no_range_is_said() {
        for (text, said) in [
            ("a{0..1.tar", "do not match"),
            ("a}.tar", "do not match"),
            ("a{b{0..1}}.tar", "do not match"),
            ("{a..b}.tar", "{a..b} is no range"),
            ("{0..4..2}.tar", "is no range"),
            ("{0..99999999999999999999}", "is no range"),
            ("{3..1}.tar", "runs downwards"),
            ("{0..9999999}.tar", "more than 1000000"),
            ("{0..9999}{0..9999}.tar", "more than 1000000"),
            ("a.tar,,b.tar", "nothing between two commas"),
        ] {
            let error = expand(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
