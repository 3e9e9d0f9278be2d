//! What an operator is told who wants to ban somebody that is never banned: all that stands
//! against it, and what he can do about each.

use super::Known;
use crate::addr::Addr;

/// What [`Protected::new`](crate::jail::protect::Protected::new) adds.
const NEVER: &str =
    "loopback, link-local, multicast and unspecified addresses are no attackers from outside";

/// Why `addr` cannot be banned, given who is protected.
pub fn refusal(addr: &Addr, known: &[Known]) -> String {
    let around = known.iter().filter(|known| known.addr.contains(addr));
    let reasons: Vec<String> = around
        .flat_map(|known| {
            known
                .why
                .split(", ")
                .map(|why| reason(why, &known.addr, addr))
        })
        .collect();
    match reasons.is_empty() {
        true => format!("{addr} is protected: {NEVER}, and nothing can ban them"),
        false => format!("{addr} is protected: {}", reasons.join("; ")),
    }
}

/// One reason, as [`Known::why`] has it, of the protected address or prefix `held`.
fn reason(why: &str, held: &Addr, addr: &Addr) -> String {
    let held = match held == addr {
        true => "it".to_owned(),
        false => held.to_string(),
    };
    match why.split_once(' ').unwrap_or((why, "")) {
        ("own", _) => format!("{held} is this machine's own address, which nothing can ban"),
        ("gateway", _) => format!("{held} is a gateway of this machine's; change the route first"),
        ("resolver", _) => format!(
            "{held} is a name server of this machine's; name another in /etc/resolv.conf first"
        ),
        ("protect", "") => {
            format!("remove {held} from `protect` in ringfence.toml, and `ringfence reload`")
        }
        ("protect", name) => format!(
            "{held} is what `{name}` stands for; remove that from `protect` in ringfence.toml, and `ringfence reload`"
        ),
        ("ignoreip", _) => format!(
            "every jail ignores {held}; remove it from a jail's `ignoreip`, and `ringfence reload`"
        ),
        ("apiban", _) => {
            format!("{held} is a server of APIBAN's, which is asked; switch APIBAN off first")
        }
        ("login", user) => format!(
            "{user} is or was logged in from there; it can be banned an hour after the session's end"
        ),
        _ => why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_told_with_what_can_be_done() {
        let known = [
            ("192.0.2.1", "own"),
            ("192.0.2.2", "gateway, resolver"),
            ("192.0.2.3", "protect"),
            ("192.0.2.4", "protect trunk.example.net"),
            ("192.0.2.5", "ignoreip"),
            ("192.0.2.6", "apiban"),
            ("192.0.2.7", "login root"),
            ("198.51.100.0/24", "protect"),
            ("198.51.100.7", "login root"),
        ];
        let known = known.map(|(addr, why)| Known::new(addr.parse().unwrap(), why));
        let told = [
            "192.0.2.1",
            "192.0.2.2",
            "192.0.2.3",
            "192.0.2.4",
            "192.0.2.5",
            "192.0.2.6",
            "192.0.2.7",
            "198.51.100.7",
            "198.51.100.0/25",
            "127.0.0.1",
        ]
        .map(|addr| refusal(&addr.parse().unwrap(), &known));
        expect_test::expect![[r#"
            192.0.2.1 is protected: it is this machine's own address, which nothing can ban
            192.0.2.2 is protected: it is a gateway of this machine's; change the route first; it is a name server of this machine's; name another in /etc/resolv.conf first
            192.0.2.3 is protected: remove it from `protect` in ringfence.toml, and `ringfence reload`
            192.0.2.4 is protected: it is what `trunk.example.net` stands for; remove that from `protect` in ringfence.toml, and `ringfence reload`
            192.0.2.5 is protected: every jail ignores it; remove it from a jail's `ignoreip`, and `ringfence reload`
            192.0.2.6 is protected: it is a server of APIBAN's, which is asked; switch APIBAN off first
            192.0.2.7 is protected: root is or was logged in from there; it can be banned an hour after the session's end
            198.51.100.7 is protected: remove 198.51.100.0/24 from `protect` in ringfence.toml, and `ringfence reload`; root is or was logged in from there; it can be banned an hour after the session's end
            198.51.100.0/25 is protected: remove 198.51.100.0/24 from `protect` in ringfence.toml, and `ringfence reload`
            127.0.0.1 is protected: loopback, link-local, multicast and unspecified addresses are no attackers from outside, and nothing can ban them"#]].assert_eq(&told.join("\n"));
    }
}
