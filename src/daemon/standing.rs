//! What `status` shows of the judgement: who is known-good or shared, the brake, alarms,
//! and addresses that a log names wrongly, with what mends it.

use super::protected::Known;
use super::verbs::{AlarmShown, SourceShown, StandingShown};
use crate::addr::Addr;
use crate::engine::Engine;
use crate::jail::standing::Rank;
use crate::ticket::Alarm;
use crate::time::Time;

/// What the engine knows; `known` says why an address is never banned.
pub fn shown(engine: &Engine, known: &[Known], now: Time) -> StandingShown {
    let target = engine.target();
    let (known_good, shared) = target.count(now);
    let sources = target.sources().convicted();
    StandingShown {
        known_good,
        shared,
        brake_since: target.brake().map(Time::as_secs),
        alarms_total: target.alarms().total,
        alarms: target.alarms().newest().map(alarm_shown).collect(),
        wrong_sources: sources
            .map(|(addr, finding)| {
                let why = why(engine, known, addr, now);
                SourceShown {
                    addr: addr.to_string(),
                    jail: finding.jail.to_string(),
                    tries: finding.tries,
                    convictions: finding.convictions,
                    last: finding.last.as_secs(),
                    remedy: remedy(&why, &finding.jail),
                    why,
                }
            })
            .collect(),
    }
}

/// An alarm, for people and programs.
pub(super) fn alarm_shown(alarm: &Alarm) -> AlarmShown {
    AlarmShown {
        kind: alarm.kind.word().to_owned(),
        time: alarm.time.as_secs(),
        addr: alarm.addr.map(|addr| addr.to_string()),
        jail: alarm.jail.to_string(),
        accounts: alarm.accounts.iter().map(|name| name.to_string()).collect(),
        count: alarm.count,
        text: alarm.to_string(),
    }
}

/// Why an address is not banned.
fn why(engine: &Engine, known: &[Known], addr: &Addr, now: Time) -> String {
    let known = known.iter().find(|known| known.addr.contains(addr));
    match known {
        Some(known) => known.first_reason().to_owned(),
        None if addr.ip().is_loopback() => "loopback".to_owned(),
        None if engine.rank(addr, now) == Rank::Shared => "shared".to_owned(),
        None => "ignored".to_owned(),
    }
}

/// What an operator can do about it.
fn remedy(why: &str, jail: &str) -> String {
    let log = match jail {
        "kamailio" => {
            "have it pass the client's address on, and log that one: `$si` is the proxy; \
             `$hdr(X-Real-IP)`, or the PROXY protocol with `tcp_accept_haproxy=yes`"
        }
        "asterisk" => {
            "Asterisk logs the last hop only: let the proxy authenticate, or watch the proxy's \
             own log"
        }
        _ => "have it pass the client's address on, and log that one, or watch the proxy's own log",
    };
    match why {
        "loopback" | "own" => format!("a proxy on this machine stands in front of it: {log}"),
        "gateway" => format!(
            "the gateway hides who comes through it. For containers use the host's network, or \
             switch the userland proxy off (`\"userland-proxy\": false`). Else {log}"
        ),
        "shared" => format!("it speaks for many. If it is a proxy, {log}"),
        _ => format!("it is never banned. If it is a customer, look after it; if a proxy, {log}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wrong_source_has_its_remedy() {
        let table: String = [
            ("loopback", "kamailio"),
            ("gateway", "asterisk"),
            ("shared", "freeswitch"),
            ("protect", "asterisk"),
        ]
        .map(|(why, jail)| format!("{why}: {}\n", remedy(why, jail)))
        .concat();
        expect_test::expect![[r#"
            loopback: a proxy on this machine stands in front of it: have it pass the client's address on, and log that one: `$si` is the proxy; `$hdr(X-Real-IP)`, or the PROXY protocol with `tcp_accept_haproxy=yes`
            gateway: the gateway hides who comes through it. For containers use the host's network, or switch the userland proxy off (`"userland-proxy": false`). Else Asterisk logs the last hop only: let the proxy authenticate, or watch the proxy's own log
            shared: it speaks for many. If it is a proxy, have it pass the client's address on, and log that one, or watch the proxy's own log
            protect: it is never banned. If it is a customer, look after it; if a proxy, Asterisk logs the last hop only: let the proxy authenticate, or watch the proxy's own log
        "#]].assert_eq(&table);
    }
}
