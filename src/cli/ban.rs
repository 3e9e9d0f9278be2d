//! `ringfence ban` and `ringfence unban`.

use clap::Args;

use super::ask::ask;
use super::{Common, Output};
use crate::daemon::verbs::{BanShown, Pardoned, Verb};
use crate::time::Time;

#[derive(Args, Debug)]
pub(super) struct BanArguments {
    /// An address or a prefix
    addr: String,
    /// The jail that holds it; by default the operators' own
    #[arg(long)]
    jail: Option<String>,
    /// For how long, as in `90s`, `2h` or `1d 12h`; by default for the jail's time (the operators' jail: for ever)
    #[arg(long, value_name = "TIME", value_parser = secs)]
    time: Option<u64>,
    #[command(flatten)]
    output: Output,
}

#[derive(Args, Debug)]
pub(super) struct UnbanArguments {
    /// An address or a prefix; an IPv6 address stands for its /64
    addr: String,
    #[command(flatten)]
    output: Output,
}

/// Seconds in a duration such as `2h`; digits alone are seconds.
pub(super) fn secs(text: &str) -> Result<u64, String> {
    let wrong = || "write seconds, or units as in `90s`, `2h` or `1d 12h`".to_owned();
    if let Ok(secs) = text.parse() {
        return Ok(secs);
    }
    let span = days(text).map_err(|_| wrong())?;
    u64::try_from(span.as_secs())
        .ok()
        .filter(|secs| *secs > 0)
        .ok_or_else(wrong)
}

/// A duration with days and weeks in it, which are 24 hours each and 7 days each here.
fn days(text: &str) -> Result<jiff::SignedDuration, jiff::Error> {
    let span: jiff::Span = text.parse()?;
    span.to_duration(jiff::SpanRelativeTo::days_are_24_hours())
}

pub(super) fn ban(common: &Common, arguments: &BanArguments) -> anyhow::Result<()> {
    let BanArguments {
        addr,
        jail,
        time,
        output,
    } = arguments;
    let verb = Verb::Ban {
        addr: addr.clone(),
        jail: jail.clone(),
        secs: *time,
    };
    output.print(&ask::<BanShown>(common, &verb)?, |ban| {
        let until = ban.until.map_or("for ever".to_owned(), |until| {
            format!("until {}", Time::from_secs(until))
        });
        format!("banned {} in jail {} {until}\n", ban.addr, ban.jail)
    })
}

pub(super) fn unban(common: &Common, arguments: &UnbanArguments) -> anyhow::Result<()> {
    let addr = &arguments.addr;
    let pardoned: Pardoned = ask(common, &Verb::Unban { addr: addr.clone() })?;
    arguments.output.print(&pardoned, |pardoned| {
        let mut text = String::new();
        for ban in &pardoned.lifted {
            text += &format!("lifted the ban of jail {} on {}\n", ban.jail, ban.addr);
        }
        for listed in &pardoned.listed {
            text += &format!("{listed} is on APIBAN's list and may come again; add it to `protect` to let it pass\n");
        }
        for ban in &pardoned.wider {
            text += &format!("jail {} holds all of {}\n", ban.jail, ban.addr);
        }
        if text.is_empty() { format!("{addr} was not banned\n") } else { text }
    })?;
    let mut wider: Vec<&str> = pardoned.wider.iter().map(|ban| ban.addr.as_str()).collect();
    wider.dedup();
    anyhow::ensure!(
        wider.is_empty(),
        "{addr} is still banned; to lift that: ringfence unban {}",
        wider.join(", then ringfence unban ")
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::secs;

    #[test]
    fn durations() {
        for (text, expected) in [
            ("90", Some(90)),
            ("90s", Some(90)),
            ("2h", Some(7_200)),
            ("1d 12h", Some(129_600)),
            ("2w", Some(1_209_600)),
            ("0s", None),
            ("-5m", None),
            ("soon", None),
        ] {
            assert_eq!(secs(text).ok(), expected, "{text}");
        }
    }
}
