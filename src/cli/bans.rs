//! `ringfence bans`: everybody who is banned, a line each; with `--json` an object each.
//!
//! It is read page by page and printed as it comes: a list of any length costs neither side
//! more than a page, and whoever has seen enough (`| head`) ends it.

use clap::Args;

use super::reason::reason;
use super::{Common, ask, escaped, print_on};
use crate::control::Client;
use crate::daemon::verbs::{BanShown, BansPage, Verb};
use crate::time::Time;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Only those whom this jail holds
    #[arg(long)]
    jail: Option<String>,
    /// Print JSON, for programs: an object on each line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(common: &Common, arguments: &Arguments) -> anyhow::Result<()> {
    let mut client = Client::connect(&ask::socket(common)?)?;
    let mut after = None;
    loop {
        let verb = Verb::Bans {
            jail: arguments.jail.clone(),
            after: after.clone(),
        };
        let page: BansPage = client.native(&verb)?;
        let mut text = String::new();
        for ban in &page.bans {
            match arguments.json {
                true => text += &escaped(&serde_json::to_string(ban)?),
                false => text += &line(ban),
            }
            text.push('\n');
        }
        if page.bans.is_empty() && after.is_none() && !arguments.json {
            text = "nobody is banned\n".to_owned();
        }
        if !print_on(&text)? || page.next.is_none() {
            return Ok(());
        }
        after = page.next;
    }
}

fn line(ban: &BanShown) -> String {
    let until = ban.until.map_or("for ever".to_owned(), |until| {
        format!("until {}", Time::from_secs(until))
    });
    format!(
        "{:<40} {} since {}, {until}: {}",
        ban.addr,
        ban.jail,
        Time::from_secs(ban.since),
        reason(&ban.reason, ban.tries)
    )
}
