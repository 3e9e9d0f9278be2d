//! Counts as people write them: `1 line`, `2 lines`.

/// How many of a thing there are: `1 failure`, `3 tries`.
pub fn counted(count: impl TryInto<u64>, thing: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    match (count, thing.strip_suffix('y')) {
        (1, _) => format!("1 {thing}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        (_, None) if thing.ends_with(['s', 'h']) => format!("{count} {thing}es"),
        (_, None) => format!("{count} {thing}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn one_and_more() {
        for (count, thing, expected) in [
            (0_u64, "line", "0 lines"),
            (1, "line", "1 line"),
            (2, "line", "2 lines"),
            (1, "try", "1 try"),
            (5, "try", "5 tries"),
            (1, "address", "1 address"),
            (2, "address", "2 addresses"),
            (2, "search", "2 searches"),
        ] {
            assert_eq!(counted(count, thing), expected);
        }
    }
}
