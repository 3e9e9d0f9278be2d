//! fail2ban's tags in a regex: `<HOST>`, `<F-USER>…</F-USER>`, `<SKIPLINES>`.
//!
//! [`expand`] replaces them by Python regex text with the group names that
//! fail2ban's own code looks for: `ip4 ip6 dns cidr fid fport skiplinesN`, and the
//! lower-cased name of any `<F-NAME>`. Unknown tags stay what they are.

/// Four groups of one to three digits. Their range is not checked here.
const IP4: &str = r"(?P<ip4>\d{1,3}(?:\.\d{1,3}){3})";
/// The same after an IPv6 prefix for mapped addresses.
const IP4_MAPPED: &str = "(?:::f{4,6}:)?";
/// Up to seven pieces that end in a colon, and a last piece that may be one more
/// colon. The piece before ends in a colon, so that last one stands in a `::`.
const IP6: &str = "(?P<ip6>(?:[0-9a-fA-F]{1,4}::?|:){1,7}(?:[0-9a-fA-F]{1,4}|:))";
/// A host name: it ends in a word character.
const DNS: &str = r"(?P<dns>[-.^\w]*\w)";
/// The length of a prefix.
const CIDR: &str = r"(?P<cidr>\d+)";
/// Any failure id without blanks.
const ID: &str = r"(?P<fid>\S+)";
/// A port, by number or name.
const PORT: &str = r"(?P<fport>\w+)";

/// `regex` with its tags replaced. With `dns`, `<HOST>` may be a host name too;
/// without (`usedns = no`), only an address.
///
/// Flags at the start of a group, `(?:(?i)…)` and `((?i)…)`, become `(?i:…)`,
/// as fail2ban writes them for newer Pythons.
pub fn expand(regex: &str, dns: bool) -> String {
    let mut out = String::with_capacity(regex.len() * 2);
    let mut opened: Vec<&str> = Vec::new();
    let mut skips = 0;
    let mut rest = regex;
    while let Some((before, after)) = rest.split_once('<') {
        out.push_str(before);
        match tag(after) {
            Some((name, after)) => {
                match replacement(name, dns, &mut opened, &mut skips) {
                    Some(text) => out.push_str(&text),
                    None => {
                        out.push('<');
                        out.push_str(name);
                        out.push('>');
                    }
                }
                rest = after;
            }
            None => {
                out.push('<');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    scope_flags(&out)
}

/// The name of a tag whose `<` is behind us, slashes included, and what follows it.
fn tag(text: &str) -> Option<(&str, &str)> {
    let (name, after) = text.split_once('>')?;
    let bare = name.strip_prefix('/').unwrap_or(name);
    let bare = bare.strip_suffix('/').unwrap_or(bare);
    let fits = |char: char| char == '-' || char == '_' || char.is_alphanumeric();
    (!bare.is_empty() && bare.chars().all(fits)).then_some((name, after))
}

fn replacement<'a>(
    name: &'a str,
    dns: bool,
    opened: &mut Vec<&'a str>,
    skips: &mut u32,
) -> Option<String> {
    let ip4 = format!("{IP4_MAPPED}{IP4}");
    let addr = format!(r"\[?(?:{ip4}|{IP6})\]?");
    Some(match name {
        "HOST" if dns => format!("(?:{addr}|{DNS})"),
        "HOST" | "ADDR" | "F-ADDR/" => addr,
        "IP4" | "F-IP4/" => ip4,
        "IP6" | "F-IP6/" => IP6.to_owned(),
        "DNS" | "F-DNS/" => DNS.to_owned(),
        "CIDR" | "F-CIDR/" => CIDR.to_owned(),
        "SUBNET" | "F-SUBNET/" => format!(r"\[?(?:{ip4}|{IP6})(?:/{CIDR})?\]?"),
        "F-ID/" => ID.to_owned(),
        "F-PORT/" => PORT.to_owned(),
        "SKIPLINES" => {
            let number = *skips;
            *skips += 1;
            format!(r"\n(?P<skiplines{number}>(?:.*\n)*?)")
        }
        _ => return custom(name, opened),
    })
}

/// `<F-NAME>` and `</F-NAME>`; a closing one counts once its name was ever opened.
fn custom<'a>(name: &'a str, opened: &mut Vec<&'a str>) -> Option<String> {
    let fits = |name: &str| {
        let fit =
            |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
        !name.is_empty() && name.bytes().all(fit)
    };
    if let Some(name) = name.strip_prefix("/F-").filter(|name| fits(name)) {
        return opened.contains(&name).then(|| ")".to_owned());
    }
    let name = name.strip_prefix("F-").filter(|name| fits(name))?;
    opened.push(name);
    let group = match name {
        "ID" => "fid".to_owned(),
        "PORT" => "fport".to_owned(),
        _ => name.to_ascii_lowercase(),
    };
    Some(format!("(?P<{group}>"))
}

/// `((?i)` and `(?:(?i)`, not after a backslash, become `(?i:`.
fn scope_flags(regex: &str) -> String {
    let mut out = String::with_capacity(regex.len());
    let mut rest = regex;
    while let Some((before, after)) = rest.split_once('(') {
        out.push_str(before);
        let escaped = out.ends_with('\\');
        match flags_only(after.strip_prefix("?:").unwrap_or(after)).filter(|_| !escaped) {
            Some((flags, after)) => {
                out.push_str("(?");
                out.push_str(flags);
                out.push(':');
                rest = after;
            }
            None => {
                out.push('(');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// `(?flags)` at the start of `text`: the flags, and what follows.
fn flags_only(text: &str) -> Option<(&str, &str)> {
    let (flags, after) = text.strip_prefix("(?")?.split_once(')')?;
    let letters = !flags.is_empty() && flags.bytes().all(|byte| byte.is_ascii_lowercase());
    letters.then_some((flags, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_become_groups() {
        for (written, read) in [
            ("from <CIDR>$", r"from (?P<cidr>\d+)$"),
            ("<F-USER>.*</F-USER> x", "(?P<user>.*) x"),
            ("<F-ID>a</F-ID><F-PORT/>", r"(?P<fid>a)(?P<fport>\w+)"),
            ("<F-ALT_USER_1>a</F-ALT_USER_1>", "(?P<alt_user_1>a)"),
            ("a</F-USER>", "a</F-USER>"),
            ("<F-A>a</F-A></F-A>", "(?P<a>a))"),
            (
                "<unknown> <F-user> <F-X/> <> </> <a b> <",
                "<unknown> <F-user> <F-X/> <> </> <a b> <",
            ),
            ("<<CIDR>>", r"<(?P<cidr>\d+)>"),
            (
                "a<SKIPLINES>b<SKIPLINES>c",
                r"a\n(?P<skiplines0>(?:.*\n)*?)b\n(?P<skiplines1>(?:.*\n)*?)c",
            ),
            ("(?:(?i)a)((?sm)b)\\((?i)c", "(?i:a)(?sm:b)\\((?i)c"),
            ("(?P<ip4>x)(?:a)", "(?P<ip4>x)(?:a)"),
        ] {
            assert_eq!(expand(written, true), read, "{written}");
        }
    }

    #[test]
    fn host_names_only_where_dns_is_used() {
        assert!(expand("<HOST>", true).contains("(?P<dns>"));
        assert!(!expand("<HOST>", false).contains("(?P<dns>"));
        assert_eq!(expand("<HOST>", false), expand("<ADDR>", true));
    }
}
