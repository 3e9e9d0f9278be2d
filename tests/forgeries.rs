//! The forgery bench: whatever a sender writes into whichever field, whom do we blame?
//!
//! Lines are made as the three servers make them (`Written`), from every field that a
//! sender controls and every trick that breaks quoting (`TRICKS`), alone and mixed with
//! a fixed seed, as they come to a file and as they come through syslog. For each field
//! the table says how many forgeries there were, and
//!
//! - `framed`: somebody is blamed whom the server did not write, with proof or in a log
//!   whose lines nobody can forge; never;
//! - `earned`: a proven success of somebody whom the server did not write; never;
//! - `hints`: whole lines that the server wrote for the sender into a file, newline and
//!   all, whose sender guessed the number of the thread right (`newline, thread guessed`);
//! - `unclear`: the line has more than one reading, as [`unclear`] says by name, and blames
//!   nobody, but is counted and shown with what mends it;
//! - `convicted`: the true source is blamed. That is all others in which the server names it.
//!
//! Below it each trick has its column, in the order of `TRICKS`; then the mixed ones.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use expect_test::{Expect, expect};
use jiff::tz::TimeZone;
use ringfence::config;
use ringfence::filter::lines::{Attached, Found, Lineup, Mode};
use ringfence::filter::{Filter, FilterText, Names};
use ringfence::ticket::{Sight, Trust};
use ringfence::time::Time;

const NOW: Time = Time::from_secs(1_796_000_000);
const VICTIM: &str = "203.0.113.20";
const TRUE: &str = "198.51.100.7";

/// How the server writes what a sender sent, and so what of it can come through.
#[derive(Clone, Copy, PartialEq)]
enum Pen {
    /// As it came; a header ends at its newline.
    Raw,
    /// As it came, in a quoted string: the parser ends it at a quote without a backslash.
    Quoted,
    /// In a URI between angle brackets: neither these nor blanks nor quotes get in.
    Uri,
    /// `%xx` decoded, newlines too, of so many characters at most.
    Decoded(usize),
    /// Between quotes that end it: no quote gets in.
    Unquoted,
    /// A part of a From URI as Kamailio takes it: it ends at `>` and at a blank.
    Word,
}

impl Pen {
    fn write(self, text: &str) -> String {
        let plain = text.replace(['\r', '\n'], " ");
        match self {
            Pen::Raw => encoded_newlines(text),
            Pen::Quoted => encoded_newlines(text)
                .replace('\\', "\\\\")
                .replace('"', "\\\""),
            Pen::Uri => {
                let encode = |char: char| match char {
                    '<' | '>' | ' ' | '"' | '\r' | '\n' | '\0' => format!("%{:02x}", char as u32),
                    _ => char.to_string(),
                };
                text.chars().map(encode).collect()
            }
            Pen::Decoded(most) => text.chars().take(most).collect(),
            Pen::Unquoted => plain.replace('"', ""),
            Pen::Word => plain.replace(['>', ' '], "_"),
        }
    }
}

fn encoded_newlines(text: &str) -> String {
    text.replace('\r', "%0d").replace('\n', "%0a")
}

/// What the server says with a line.
#[derive(Clone, Copy, PartialEq)]
enum Says {
    /// That the true source failed.
    Failed,
    /// That the true source was challenged.
    Challenged,
    /// That the true source succeeded.
    Succeeded,
    /// Nothing of anybody.
    Nothing,
}

/// A line that a server writes. `@` is the field, `$` the true source, in brackets if it
/// is IPv6 and a port follows, `^` the same without.
struct Written {
    field: &'static str,
    pen: Pen,
    says: Says,
    text: &'static str,
}

const fn written(field: &'static str, pen: Pen, says: Says, text: &'static str) -> Written {
    Written {
        field,
        pen,
        says,
        text,
    }
}

const ASTERISK: &[Written] = &[
    written(
        "chan_sip To",
        Pen::Raw,
        Says::Failed,
        "NOTICE[4741] chan_sip.c: Registration from '@' failed for '$:5060' - Wrong password",
    ),
    written(
        "chan_sip extension",
        Pen::Decoded(79),
        Says::Failed,
        "NOTICE[4741][C-0000001e] chan_sip.c: Call from '' ($:5060) to extension '@' rejected because extension not found in context 'public'.",
    ),
    written(
        "chan_sip extension, long",
        Pen::Decoded(4096),
        Says::Failed,
        "NOTICE[4741][C-0000001e] chan_sip.c: Call from '' ($:5060) to extension '@' rejected because extension not found in context 'public'.",
    ),
    written(
        "chan_sip From, no address",
        Pen::Raw,
        Says::Nothing,
        "NOTICE[4741][C-0000001e] chan_sip.c: Failed to authenticate device @ for INVITE, code = -1",
    ),
    written(
        "chan_sip Call-ID, no address",
        Pen::Raw,
        Says::Nothing,
        "WARNING[4741] chan_sip.c: Retransmission timeout reached on transmission @ for seqno 1 (Critical Response) -- See https://wiki.asterisk.org/",
    ),
    written(
        "chan_sip account",
        Pen::Raw,
        Says::Failed,
        "SECURITY[4839] res_security_log.c: SecurityEvent=\"InvalidPassword\",EventTV=\"2026-11-22T07:51:22.996+0000\",Severity=\"Error\",Service=\"SIP\",EventVersion=\"2\",AccountID=\"@\",SessionID=\"0x7f6fb0\",LocalAddress=\"IPV4/UDP/192.0.2.16/5060\",RemoteAddress=\"IPV4/UDP/^/5060\",Challenge=\"41d26de5\",ReceivedChallenge=\"41d26de5\",ReceivedHash=\"7a6a3a2e\"",
    ),
    written(
        "chan_sip nonce",
        Pen::Unquoted,
        Says::Failed,
        "SECURITY[4839] res_security_log.c: SecurityEvent=\"InvalidPassword\",EventTV=\"2026-11-22T07:51:22.996+0000\",Severity=\"Error\",Service=\"SIP\",EventVersion=\"2\",AccountID=\"1001\",SessionID=\"0x7f6fb0\",LocalAddress=\"IPV4/UDP/192.0.2.16/5060\",RemoteAddress=\"IPV4/UDP/^/5060\",Challenge=\"41d26de5\",ReceivedChallenge=\"@\",ReceivedHash=\"@\"",
    ),
    written(
        "chan_sip challenge",
        Pen::Decoded(4096),
        Says::Challenged,
        "SECURITY[4839] res_security_log.c: SecurityEvent=\"ChallengeSent\",EventTV=\"2026-11-22T07:51:22.996+0000\",Severity=\"Informational\",Service=\"SIP\",EventVersion=\"1\",AccountID=\"@\",SessionID=\"0x7f6fb0\",LocalAddress=\"IPV4/UDP/192.0.2.16/5060\",RemoteAddress=\"IPV4/UDP/^/5060\",Challenge=\"69c49021\"",
    ),
    written(
        "pjsip display name",
        Pen::Quoted,
        Says::Failed,
        "NOTICE[8686] res_pjsip/pjsip_distributor.c: Request 'REGISTER' from '\"@\" <sip:1001@192.0.2.16>' failed for '$:5060' (callid: 1-9425) - Failed to authenticate",
    ),
    written(
        "pjsip From",
        Pen::Uri,
        Says::Failed,
        "NOTICE[8686] res_pjsip/pjsip_distributor.c: Request 'INVITE' from '<sip:@@192.0.2.16>' failed for '$:5060' (callid: 1-9425) - No matching endpoint found after 5 tries in 0.026 ms",
    ),
    written(
        "pjsip Call-ID",
        Pen::Raw,
        Says::Failed,
        "NOTICE[8686] res_pjsip/pjsip_distributor.c: Request 'REGISTER' from '<sip:1001@192.0.2.16>' failed for '$:5060' (callid: @) - No matching endpoint found",
    ),
    written(
        "pjsip session",
        Pen::Raw,
        Says::Failed,
        "SECURITY[4839] res_security_log.c: SecurityEvent=\"ChallengeResponseFailed\",EventTV=\"2026-11-22T07:51:22.996+0000\",Severity=\"Error\",Service=\"PJSIP\",EventVersion=\"1\",AccountID=\"1001\",SessionID=\"@\",LocalAddress=\"IPV4/UDP/192.0.2.16/5060\",RemoteAddress=\"IPV4/UDP/^/5060\",Challenge=\"1795333882/47d8\",Response=\"c5c4\",ExpectedResponse=\"\"",
    ),
    written(
        "pjsip response",
        Pen::Quoted,
        Says::Failed,
        "SECURITY[4839] res_security_log.c: SecurityEvent=\"ChallengeResponseFailed\",EventTV=\"2026-11-22T07:51:22.996+0000\",Severity=\"Error\",Service=\"PJSIP\",EventVersion=\"1\",AccountID=\"1001\",SessionID=\"1-9425\",LocalAddress=\"IPV4/UDP/192.0.2.16/5060\",RemoteAddress=\"IPV4/UDP/^/5060\",Challenge=\"@\",Response=\"@\",ExpectedResponse=\"\"",
    ),
    written(
        "pjsip account",
        Pen::Decoded(36),
        Says::Failed,
        "SECURITY[4839] res_security_log.c: SecurityEvent=\"InvalidAccountID\",EventTV=\"2026-11-22T07:51:22.996+0000\",Severity=\"Error\",Service=\"PJSIP\",EventVersion=\"1\",AccountID=\"@\",SessionID=\"1-9425\",LocalAddress=\"IPV4/UDP/192.0.2.16/5060\",RemoteAddress=\"IPV4/UDP/^/5060\"",
    ),
    written(
        "pjsip session of a success",
        Pen::Raw,
        Says::Succeeded,
        "SECURITY[4839] res_security_log.c: SecurityEvent=\"SuccessfulAuth\",EventTV=\"2026-11-22T07:51:22.996+0000\",Severity=\"Informational\",Service=\"PJSIP\",EventVersion=\"1\",AccountID=\"1001\",SessionID=\"@\",LocalAddress=\"IPV4/UDP/192.0.2.16/5060\",RemoteAddress=\"IPV4/UDP/^/5060\",UsingPassword=\"1\"",
    ),
    written(
        "pjsip session of a challenge",
        Pen::Raw,
        Says::Challenged,
        "SECURITY[4839] res_security_log.c: SecurityEvent=\"ChallengeSent\",EventTV=\"2026-11-22T07:51:22.996+0000\",Severity=\"Informational\",Service=\"PJSIP\",EventVersion=\"1\",AccountID=\"<unknown>\",SessionID=\"@\",LocalAddress=\"IPV4/UDP/192.0.2.16/5060\",RemoteAddress=\"IPV4/UDP/^/5060\",Challenge=\"\"",
    ),
    written(
        "pjsip extension",
        Pen::Decoded(79),
        Says::Failed,
        "NOTICE[12049] res_pjsip_session.c: Call from 'anonymous' (UDP:$:5060) to extension '@' rejected because extension not found in context 'default'.",
    ),
    written(
        "pjsip AOR",
        Pen::Uri,
        Says::Failed,
        "WARNING[12049] res_pjsip_registrar.c: AOR '@' not found for endpoint 'anonymous' ($:5060)",
    ),
    written(
        "Contact, by an ACL",
        Pen::Raw,
        Says::Nothing,
        "NOTICE[4741] acl.c: SIP contact ACL: Rejecting '203.0.113.20' due to a failure to pass ACL 'c@'",
    ),
    written(
        "AMI user",
        Pen::Decoded(4096),
        Says::Failed,
        "NOTICE[9399] manager.c: ^ failed to authenticate as '@'",
    ),
    written(
        "AMI account",
        Pen::Decoded(4096),
        Says::Failed,
        "SECURITY[4839] res_security_log.c: SecurityEvent=\"InvalidAccountID\",EventTV=\"2026-11-22T07:51:15.467+0000\",Severity=\"Error\",Service=\"AMI\",EventVersion=\"1\",AccountID=\"@\",SessionID=\"0x7f6f\",LocalAddress=\"IPV4/TCP/192.0.2.16/5038\",RemoteAddress=\"IPV4/TCP/^/48204\",SessionTV=\"1970-01-01T00:00:00.000+0000\"",
    ),
    written(
        "IAX2 peer",
        Pen::Decoded(4096),
        Says::Failed,
        "NOTICE[4728] chan_iax2.c: No registration for peer '@' (from ^)",
    ),
    written(
        "IAX2 user",
        Pen::Raw,
        Says::Failed,
        "NOTICE[4728] chan_iax2.c: Host ^ failed MD5 authentication for '@' (c421873a != 41420474)",
    ),
    written(
        "IAX2 extension",
        Pen::Decoded(4096),
        Says::Failed,
        "NOTICE[4728] chan_iax2.c: Rejected connect attempt from ^, who was trying to reach '@@default'",
    ),
    written(
        "dialplan extension",
        Pen::Decoded(79),
        Says::Failed,
        "WARNING[6756][C-0000001d] Ext. @: \"Rejecting unknown SIP connection from ^\"",
    ),
    written(
        "VERBOSE extension",
        Pen::Decoded(79),
        Says::Nothing,
        "VERBOSE[6756][C-0000001d] pbx.c: Executing [@@public:1] NoOp(\"PJSIP/anonymous-00000001\", \"\") in new stack",
    ),
    written(
        "VERBOSE extension, long",
        Pen::Decoded(4096),
        Says::Nothing,
        "VERBOSE[6756][C-0000001d] pbx.c: Executing [@@public:1] NoOp(\"SIP/192.0.2.10-00000001\", \"\") in new stack",
    ),
    written(
        "VERBOSE caller",
        Pen::Decoded(4096),
        Says::Nothing,
        "VERBOSE[6756][C-0000001d] pbx.c:     -- Executing [100:1] Set(\"SIP/192.0.2.10-00000001\", \"X=@\") in new stack",
    ),
    written(
        "VERBOSE words of a dialplan",
        Pen::Decoded(4096),
        Says::Nothing,
        "VERBOSE[6756][C-0000001d] app_verbose.c: @",
    ),
];

const FREESWITCH: &[Written] = &[
    written(
        "user, failure",
        Pen::Raw,
        Says::Failed,
        "sofia_reg.c:1533 SIP auth failure (REGISTER) on sofia profile 'internal' for [@@192.0.2.1] from ip ^",
    ),
    written(
        "host, failure",
        Pen::Raw,
        Says::Failed,
        "sofia_reg.c:1533 SIP auth failure (INVITE) on sofia profile 'internal' for [1001@@] from ip ^",
    ),
    written(
        "user, unknown",
        Pen::Raw,
        Says::Failed,
        "sofia_reg.c:2531 Can't find user [@@192.0.2.1] from ^",
    ),
    written(
        "host, unknown",
        Pen::Raw,
        Says::Failed,
        "sofia_reg.c:2531 Can't find user [1001@@] from ^",
    ),
    written(
        "user, challenge",
        Pen::Raw,
        Says::Challenged,
        "sofia_reg.c:1533 SIP auth challenge (REGISTER) on sofia profile 'internal' for [@@192.0.2.1] from ip ^",
    ),
    written(
        "user of verto, no address",
        Pen::Raw,
        Says::Nothing,
        "mod_verto.c:123 Login incorrect for user: @ domain: x",
    ),
    written(
        "number dialled, no address",
        Pen::Raw,
        Says::Nothing,
        "mod_dialplan_xml.c:637 Processing 1001 <1001>->@ in context public",
    ),
];

/// On standard error, as a container's runtime keeps it, and in syslog.
const KAMAILIO: &[Written] = &[
    written(
        "Call-ID",
        Pen::Raw,
        Says::Failed,
        "NOTICE: {1 1 REGISTER @} <script>: Auth error for 1001@192.0.2.10 from ^ cause -2",
    ),
    written(
        "Call-ID, port",
        Pen::Raw,
        Says::Failed,
        "WARNING: {1 1 REGISTER @} <script>: Failed REGISTER authentication from ^:5060 user=1001 ua=probe",
    ),
    written(
        "Call-ID, tutorial",
        Pen::Raw,
        Says::Failed,
        "ERROR: {1 1 INVITE @} <script>: Blocking traffic from ^",
    ),
    written(
        "Call-ID, success",
        Pen::Raw,
        Says::Succeeded,
        "NOTICE: {1 1 REGISTER @} <script>: Auth success for 1001@192.0.2.10 from ^",
    ),
    written(
        "Call-ID, no address",
        Pen::Raw,
        Says::Nothing,
        "ERROR: {1 1 REGISTER @} <core> [core/parser/parse_from.c:107]: parse_from_uri(): failed to parse From uri",
    ),
    written(
        "Call-ID, pike",
        Pen::Raw,
        Says::Failed,
        "NOTICE: {1 1 OPTIONS @} pike [pike_funcs.c:135]: pike_check_ipaddr(): PIKE - BLOCKing ip ^, node=0x7f96933687a8",
    ),
    written(
        "From user",
        Pen::Word,
        Says::Failed,
        "NOTICE: {1 1 REGISTER 7-1} <script>: Auth error for @@192.0.2.10 from ^ cause -2",
    ),
    written(
        "From domain",
        Pen::Word,
        Says::Failed,
        "NOTICE: {1 1 REGISTER 7-1} <script>: Auth error for 1001@@ from ^ cause -3",
    ),
    written(
        "From user, success",
        Pen::Word,
        Says::Succeeded,
        "NOTICE: {1 1 REGISTER 7-1} <script>: Auth success for @@192.0.2.10 from ^",
    ),
    written(
        "user",
        Pen::Raw,
        Says::Failed,
        "WARNING: {1 1 REGISTER 7-1} <script>: Failed REGISTER authentication from ^:5060 user=@ ua=probe",
    ),
    written(
        "User-Agent",
        Pen::Raw,
        Says::Failed,
        "WARNING: {1 1 REGISTER 7-1} <script>: Failed REGISTER authentication from ^:5060 user=1001 ua=@",
    ),
    written(
        "User-Agent, blacklisted",
        Pen::Raw,
        Says::Failed,
        "ALERT: {1 1 OPTIONS 7-1} <script>: OPTIONS from ^ blocked because UserAgent '@' is blacklisted",
    ),
    written(
        "User-Agent, no prefix",
        Pen::Raw,
        Says::Failed,
        "WARNING: <script>: Failed REGISTER authentication from ^:5060 user=1001 ua=@",
    ),
    written(
        "request URI",
        Pen::Word,
        Says::Failed,
        "NOTICE: {1 1 INVITE 7-1} <script>: Not relaying INVITE to sip:@@192.0.2.10 from sip:1@192.0.2.10 (IP:^:5060)",
    ),
    written(
        "From URI, flood",
        Pen::Word,
        Says::Failed,
        "ALERT: {1 1 OPTIONS 7-1} <script>: ALERT: pike blocking OPTIONS from sip:@@192.0.2.10 (IP:^:5060)",
    ),
    written(
        "request URI, no address",
        Pen::Raw,
        Says::Nothing,
        "WARNING: {1 1 INVITE 7-1} sanity [sanity.c:282]: check_ruri_scheme(): failed to parse request uri [@]",
    ),
    written(
        "header, no address",
        Pen::Raw,
        Says::Nothing,
        "ERROR: <core> [core/parser/msg_parser.c:94]: parse_headers(): bad header field [@]",
    ),
    written(
        "line of an administrator, open",
        Pen::Raw,
        Says::Nothing,
        "INFO: {1 1 INVITE 7-1} <script>: a call of @",
    ),
    written(
        "line of an administrator, longer than ours",
        Pen::Raw,
        Says::Nothing,
        "NOTICE: {1 1 REGISTER 7-1} <script>: Auth error for 1001@192.0.2.10 from ^ cause -2 ua=@",
    ),
    written(
        "line of an administrator, longer than Kamailio's",
        Pen::Raw,
        Says::Nothing,
        "NOTICE: {1 1 INVITE 7-1} <script>: Not relaying INVITE to sip:a.example from sip:b.example (IP:^:5060) @",
    ),
    written(
        "line of an administrator, no prefix",
        Pen::Raw,
        Says::Nothing,
        "INFO: <script>: a call of @",
    ),
];

/// What is written into a field; `¤` is the victim.
const TRICKS: &[(&str, &str)] = &[
    ("quote", "x' failed for '¤:5060' - Wrong password"),
    (
        "quote, pjsip",
        "x' failed for '¤:5060' (callid: zz) - No matching endpoint found",
    ),
    ("quote, Call-ID open", "x' failed for '¤:5060' (callid: zz"),
    ("bracket", "x' (¤:5060) to extension '1"),
    ("bracket, IAX2", "x' (from ¤)"),
    ("bracket, square", "x] from ip ¤"),
    ("bracket, of Kamailio", "x (IP:¤:5060)"),
    (
        "RemoteAddress",
        "x\",LocalAddress=\"IPV4/UDP/192.0.2.1/5060\",RemoteAddress=\"IPV4/UDP/¤/5060",
    ),
    (
        "RemoteAddress, open",
        "x\",LocalAddress=\"IPV4/UDP/192.0.2.1/5060\",RemoteAddress=\"IPV4/UDP/¤/5060\",Challenge=\"",
    ),
    (
        "RemoteAddress, backslash",
        "x\",LocalAddress=\"IPV4/UDP/192.0.2.1/5060\",RemoteAddress=\"IPV4/UDP/¤/5060\",Challenge=\"\\",
    ),
    (
        "RemoteAddress, twice",
        "x\",RemoteAddress=\"IPV4/UDP/¤/5060\",RemoteAddress=\"IPV4/UDP/¤/5060\",Z=\"",
    ),
    (
        "success",
        "x\",SecurityEvent=\"SuccessfulAuth\",RemoteAddress=\"IPV4/UDP/¤/5060\",UsingPassword=\"1",
    ),
    (
        "second event",
        "x\" [Nov 22 07:51:22] SECURITY[1000] res_security_log.c: SecurityEvent=\"SuccessfulAuth\",EventTV=\"1\",Severity=\"Informational\",Service=\"PJSIP\",EventVersion=\"1\",AccountID=\"1\",SessionID=\"1\",LocalAddress=\"IPV4/UDP/192.0.2.1/5060\",RemoteAddress=\"IPV4/UDP/¤/5060\",UsingPassword=\"1\"",
    ),
    ("AMI", "x: ¤ failed to authenticate as 'x"),
    (
        "second message",
        "x [Nov 22 07:51:22] NOTICE[1] manager.c: ¤ failed to authenticate as 'x",
    ),
    (
        "date",
        "[Nov 22 07:51:22] ¤ failed for '¤:5060' - Wrong password",
    ),
    (
        "newline",
        "z\r\n[Nov 22 07:51:22] NOTICE[1000] chan_sip.c: Registration from '1' failed for '¤:5060' - Wrong password\r\n",
    ),
    (
        "newline, short",
        "z\n[] NOTICE[1] manager.c: ¤ failed to authenticate as '1'\n",
    ),
    (
        "newline, no end",
        "z\n[] NOTICE[1] manager.c: ¤ failed to authenticate as '",
    ),
    (
        "newline, event",
        "z\"\r\n[2026-11-22 07:51:22.000] SECURITY[1000] res_security_log.c: SecurityEvent=\"InvalidPassword\",EventTV=\"1\",Severity=\"Error\",Service=\"PJSIP\",EventVersion=\"1\",AccountID=\"1\",SessionID=\"1\",LocalAddress=\"IPV4/UDP/192.0.2.1/5060\",RemoteAddress=\"IPV4/UDP/¤/5060\"\r\nNOTICE[1] x.c: \"",
    ),
    (
        "newline, success",
        "z\"\n[2026-11-22 07:51:22.000] SECURITY[1000] res_security_log.c: SecurityEvent=\"SuccessfulAuth\",EventTV=\"1\",Severity=\"Informational\",Service=\"PJSIP\",EventVersion=\"1\",AccountID=\"1\",SessionID=\"1\",LocalAddress=\"IPV4/UDP/192.0.2.1/5060\",RemoteAddress=\"IPV4/UDP/¤/5060\",UsingPassword=\"1\"\nNOTICE[1] x.c: \"",
    ),
    (
        "newline, syslog",
        "z\r\nNov 22 07:51:22 pbx asterisk[77]: NOTICE[1000]: chan_sip.c:123 in f: Registration from '1' failed for '¤:5060' - Wrong password\r\n",
    ),
    (
        "newline, thread guessed",
        "z\n[] NOTICE[4741] acl.c: Rejecting '¤' due to a failure to pass ACL ''\n",
    ),
    (
        "newline in words",
        "z#015#012Nov 22 07:51:22 sip1 kamailio[7]: NOTICE: <script>: Blocking traffic from ¤",
    ),
    ("braces", "x} <script>: Blocking traffic from ¤"),
    ("braces, unknown", "x} <script>: y"),
    (
        "braces, twice",
        "x} <script>: y} <script>: Blocking traffic from ¤",
    ),
    (
        "braces, cause",
        "x} <script>: Auth error for 1@x from ¤ cause -2",
    ),
    (
        "braces, level",
        "x} NOTICE: pike [pike_funcs.c:135]: pike_check_ipaddr(): PIKE - BLOCKing ip ¤, node=0x7f1",
    ),
    (
        "braces, success",
        "x} <script>: Auth success for 1@x from ¤",
    ),
    ("cause", "x from ¤ cause -2"),
    (
        "blacklisted",
        "x' is blacklisted; OPTIONS from ¤ blocked because UserAgent 'x",
    ),
    ("port", "x from ¤:5060"),
    (
        "FreeSWITCH",
        "x] from ip ¤\u{b}2026-11-22 07:40:00.118206 97.43% [WARNING] sofia_reg.c:1533 SIP auth failure (REGISTER) on sofia profile 'internal' for [1@1] from ip ¤",
    ),
    ("acl", "x\" IP ¤ Rejected by acl \"domains"),
    (
        "separators",
        "x\u{2028}¤ failed to authenticate as 'x\u{2029}\u{85}Blocking traffic from ¤",
    ),
    ("NUL", "x\0' failed for '¤:5060' - Wrong password\0"),
    (
        "carriage return",
        "x\rNOTICE[1] manager.c: ¤ failed to authenticate as 'x",
    ),
    (
        "letters",
        "\u{e9}\u{4e2d}\u{1f4de}' failed for '¤:5060' - Wrong password",
    ),
    ("end", "¤"),
    ("quoted end", "x' from '¤"),
];

/// A little generator with a fixed seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).expect("small")
    }
}

/// Where the lines come to.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    File,
    Syslog,
}

/// What the server writes of these words.
fn line(server: &str, written: &Written, words: &str, source: &str, way: Way) -> String {
    let bracketed = match source.contains(':') {
        true => format!("[{source}]"),
        false => source.to_owned(),
    };
    // The field last: whatever the sender wrote is no template. `@@` is the field and an `@`.
    let text = written.text.replace('$', &bracketed).replace('^', source);
    let text = match source.contains(':') {
        true => text.replace("RemoteAddress=\"IPV4", "RemoteAddress=\"IPV6"),
        false => text,
    };
    let words = written.pen.write(words);
    let text = match text.split_once("@@") {
        Some((head, tail)) if head.ends_with("1001") => format!("{head}@{words}{tail}"),
        Some((head, tail)) => format!("{head}{words}@{tail}"),
        None if text.contains("1001@192") => text
            .replacen("1001@192", "1001\u{1}192", 1)
            .replace('@', &words)
            .replace('\u{1}', "@"),
        None => text.replace('@', &words),
    };
    match (server, way) {
        ("asterisk", Way::File) => format!("[Nov 22 07:51:22] {text}\n"),
        ("asterisk", Way::Syslog) => {
            let placed = placed(&text);
            format!("Nov 22 07:51:22 pbx asterisk[77]: {}\n", escaped(&placed))
        }
        ("freeswitch", Way::File) => {
            format!(
                "2026-11-22 07:40:00.118206 97.43% [WARNING] {}\n",
                encoded_newlines(&text)
            )
        }
        ("freeswitch", Way::Syslog) => {
            format!(
                "Nov 22 07:51:22 pbx freeswitch[77]: [WARNING] {}\n",
                escaped(&text)
            )
        }
        (_, Way::File) => format!("2026-11-22T07:40:00Z  2(77) {}\n", encoded_newlines(&text)),
        (_, Way::Syslog) => format!("Nov 22 07:51:22 sip1 kamailio[7]: {}\n", escaped(&text)),
    }
}

/// Asterisk tells syslog where in its source it is.
fn placed(text: &str) -> String {
    match text.split_once(".c: ") {
        Some((head, tail)) if head.len() < 60 => {
            format!(
                "{}.c:123 in some_function: {tail}",
                head.replacen("] ", "]: ", 1)
            )
        }
        _ => text.replacen("] ", "]: ", 1),
    }
}

/// As rsyslog writes what would end the line.
fn escaped(text: &str) -> String {
    let escape = |char: char| match char {
        '\0'..='\x1f' => format!("#{:03o}", char as u32),
        _ => char.to_string(),
    };
    text.chars().map(escape).collect()
}

#[derive(Default)]
struct Row {
    forgeries: u32,
    framed: u32,
    earned: u32,
    hints: u32,
    named: u32,
    unclear: u32,
    convicted: u32,
}

/// Fields whose words stand before the address and come to a file with their newlines. The
/// line ends at the first of them, before the server came to name anybody. The rest of its
/// message does name the true source at its end, and might be the sender's to the last letter:
///
///     SECURITY[4839] …SecurityEvent="ChallengeSent",…,AccountID="z
///     ",SessionID="0x1",LocalAddress="IPV4/…",RemoteAddress="IPV4/UDP/203.0.113.20/5060",Challenge="
///     ",SessionID="0x7f6fb0",LocalAddress="IPV4/…",RemoteAddress="IPV4/UDP/198.51.100.7/5060",Challenge="69c49021"
const BROKEN: &[&str] = &[
    "chan_sip challenge",
    "pjsip account",
    "AMI account",
    "IAX2 peer",
    "dialplan extension",
];

/// Has the line more than one reading?
///
/// Of Kamailio it has where a second message begins behind a brace: a Call-ID in the prefix
/// may hold a brace and a message, and so may a user agent at the end of a message. So
///
///     {1 1 REGISTER x} <script>: a call of x} <script>: Blocking traffic from ADDR
///
/// is the server's word on whoever sent the Call-ID `x} <script>: a call of x`, or an
/// administrator's line on a user agent `x} <script>: Blocking traffic from ADDR`, whose
/// sender frames ADDR. Where both readings name somebody they name two. It has one only if each
/// message before the last is whole, so that no line goes on behind it; and always if there is
/// no prefix.
fn unclear(server: &str, field: &str, way: Way, log: &str) -> bool {
    let begins = |text: &&str| {
        let of_messages = ["<script>: ", "<core> [", "pike [", "sanity ["];
        of_messages.iter().any(|begin| text.starts_with(begin))
    };
    match server {
        "asterisk" => way == Way::File && BROKEN.contains(&field) && log.trim_end().contains('\n'),
        "kamailio" if log.contains(": {") => {
            let messages: Vec<&str> = log.split("} ").skip(1).filter(begins).collect();
            let before_last = messages.split_last().map_or(&[][..], |(_, before)| before);
            let is_addr = |text: &str| text.parse::<std::net::IpAddr>().is_ok();
            let is_whole = |text: &&str| {
                let words: Vec<&str> = text.split(' ').collect();
                match words[..] {
                    ["<script>:", "Blocking", "traffic", "from", addr] => is_addr(addr),
                    ["<script>:", "Auth", "success", "for", _, "from", addr] => is_addr(addr),
                    [
                        "<script>:",
                        "Auth",
                        "error",
                        "for",
                        _,
                        "from",
                        addr,
                        "cause",
                        "-2",
                    ] => is_addr(addr),
                    [
                        "pike",
                        _,
                        "pike_check_ipaddr():",
                        "PIKE",
                        "-",
                        "BLOCKing",
                        "ip",
                        addr,
                        node,
                    ] => addr.strip_suffix(',').is_some_and(is_addr) && node == "node=0x7f1",
                    _ => false,
                }
            };
            !before_last.iter().all(is_whole)
        }
        _ => false,
    }
}

fn lineup(server: &str) -> Lineup {
    lineup_of(config::filter(Path::new("/nonexistent"), server).expect("our filter"))
}

fn lineup_of(filter: Filter) -> Lineup {
    let attached = Attached {
        zone: None,
        jail: "jail".into(),
        filter: Arc::new(filter),
        findtime: Duration::from_secs(600),
    };
    Lineup::new(vec![attached], 0, TimeZone::UTC, NOW)
}

/// Lets the server write it, and books what was made of it.
/// Gives a letter: `+` the true source is blamed, `?` nobody is since it is unclear who is named, `.` nobody
/// is named, `h` somebody else by a hint, `!` somebody else.
fn judge(
    lineup: &mut Lineup,
    (now, log): (Time, &str),
    written: &Written,
    (source, is_unclear): (&str, bool),
    way: Way,
    row: &mut Row,
) -> char {
    let before = (row.hints, row.framed + row.earned);
    row.forgeries += 1;
    let shown_before = shown_unclear(lineup);
    let mut convicted = false;
    lineup.block(log.as_bytes(), Mode::Live, now, |found| {
        let (addr, trust, sight) = match found {
            Found::Failure(failure) => (failure.addr, failure.trust, None),
            Found::Sighting(seen) => (seen.addr, seen.trust, Some(seen.sight)),
            Found::Named(named) => panic!("our filters do not look up {}", named.name),
        };
        let by_server = addr.to_string() == source;
        let forgeable = way == Way::File && trust == Trust::Hint && log.trim_end().contains('\n');
        match (by_server, sight) {
            (true, None) => convicted |= written.says == Says::Failed,
            (true, Some(Sight::Challenge)) => convicted |= written.says == Says::Challenged,
            (true, Some(Sight::Success)) => convicted |= written.says == Says::Succeeded,
            (false, _) if forgeable => row.hints += 1,
            (false, Some(Sight::Success)) => row.earned += 1,
            (false, _) => row.framed += 1,
        }
        if row.framed + row.earned > 0 {
            println!("{}: blames {addr}: {log:?}", written.field);
        }
        // Nobody succeeds who only failed, and the other way round.
        if by_server && sight == Some(Sight::Success) {
            assert!(written.says == Says::Succeeded, "{log:?}");
        }
    });
    if written.says != Says::Nothing {
        row.named += 1;
        row.unclear += u32::from(is_unclear);
        row.convicted += u32::from(convicted);
        assert!(convicted != is_unclear, "{}: {log:?}", written.field);
        assert!(
            !is_unclear || shown_unclear(lineup) > shown_before,
            "{}: {log:?}",
            written.field
        );
    }
    match before {
        (_, bad) if bad < row.framed + row.earned => '!',
        (hints, _) if hints < row.hints => 'h',
        _ if convicted => '+',
        _ if written.says == Says::Nothing => '.',
        _ => '?',
    }
}

/// How many unclear lines are shown to the operator.
fn shown_unclear(lineup: &Lineup) -> u64 {
    let misses = lineup.near_misses();
    let unclear = misses.iter().filter(|(_, miss)| miss.remedy.is_some());
    let disbelieved = lineup.doubts().into_iter().map(|doubt| doubt.disbelieved);
    unclear.map(|(_, miss)| miss.count).sum::<u64>() + disbelieved.sum::<u64>()
}

/// How often tricks are mixed for each field, in each way.
const MIXES: usize = 10;

fn check(server: &str, all: &[Written], expected: Expect) {
    let mut dice = Dice(0x05ee_d0fa_11ed);
    let mut table = String::from("forgeries framed earned hints named unclear convicted\n");
    let mut matrix = String::new();
    let mut sum = Row::default();
    // A log of its own for each field and way: one that is doubted stays so.
    for written in all {
        let mut row = Row::default();
        for way in [Way::File, Way::Syslog] {
            let mut words: Vec<String> =
                TRICKS.iter().map(|(_, text)| (*text).to_owned()).collect();
            words.push("A".repeat(8_192) + TRICKS[0].1);
            for _ in 0..MIXES {
                let some = (0..2 + dice.roll(2)).map(|_| TRICKS[dice.roll(TRICKS.len())].1);
                words.push(
                    some.collect::<Vec<_>>()
                        .join([" ", "", "\"", "'"][dice.roll(4)]),
                );
            }
            let mut lineup = lineup(server);
            let mut letters = String::new();
            let mut now = NOW;
            for (place, words) in words.iter().enumerate() {
                let (source, victim) = match place % 4 {
                    3 => ("2001:db8:bad::110", "2001:db8:1::20"),
                    2 => (TRUE, "2001:db8:1::20"),
                    _ => (TRUE, VICTIM),
                };
                let words = words.replace('¤', victim);
                // In a call of its own: a second line of one call counts for nothing.
                let call = format!("{place}-9425");
                let log = line(server, written, &words, source, way).replace("1-9425", &call);
                now = now + Duration::from_secs(u64::from(place % 2 == 0));
                let says = (source, unclear(server, written.field, way, &log));
                letters.push(judge(
                    &mut lineup,
                    (now, &log),
                    written,
                    says,
                    way,
                    &mut row,
                ));
            }
            let (single, mixed) = letters.split_at(TRICKS.len() + 1);
            let way = match way {
                Way::File => "file",
                Way::Syslog => "syslog",
            };
            writeln!(matrix, "{single} {mixed} {way:<6} {}", written.field).expect("a String");
        }
        let Row {
            forgeries,
            framed,
            earned,
            hints,
            named,
            unclear,
            convicted,
        } = row;
        writeln!(
            table,
            "{forgeries:>9} {framed:>6} {earned:>6} {hints:>5} {named:>5} {unclear:>7} {convicted:>9}  {}",
            written.field
        )
        .expect("a String");
        sum.forgeries += forgeries;
        sum.framed += framed;
        sum.earned += earned;
        sum.hints += hints;
        sum.named += named;
        sum.unclear += unclear;
        sum.convicted += convicted;
    }
    let Row {
        forgeries,
        framed,
        earned,
        hints,
        named,
        unclear,
        convicted,
    } = sum;
    writeln!(
        table,
        "{forgeries:>9} {framed:>6} {earned:>6} {hints:>5} {named:>5} {unclear:>7} {convicted:>9}  all"
    )
    .expect("a String");
    println!("{server}\n{table}\n{matrix}");
    assert!(forgeries >= 500);
    assert_eq!((framed, earned), (0, 0), "{table}");
    expected.assert_eq(&format!("{table}\n{matrix}"));
}

/// Can the bench fail? What people write on their own is framed.
#[test]
fn the_bench_finds_what_can_be_framed() {
    for (server, all, naive) in [
        ("asterisk", ASTERISK, r"failed for '<HOST>(?::\d+)?'"),
        ("asterisk", ASTERISK, r#"RemoteAddress="IPV4/UDP/<HOST>/"#),
        ("asterisk", ASTERISK, r"<HOST> failed to authenticate as"),
        ("freeswitch", FREESWITCH, r"from ip <HOST>"),
        ("kamailio", KAMAILIO, r"Blocking traffic from <HOST>"),
        (
            "kamailio",
            KAMAILIO,
            r"Auth error for .* from <HOST> cause -\d",
        ),
    ] {
        let text = FilterText {
            failregex: vec![naive.to_owned()],
            names: Names::No,
            ..FilterText::default()
        };
        let mut lineup = lineup_of(Filter::compile(&text).expect("a filter"));
        let mut row = Row::default();
        for written in all {
            for (_, words) in TRICKS {
                let log = line(
                    server,
                    written,
                    &words.replace('¤', VICTIM),
                    TRUE,
                    Way::Syslog,
                );
                // What is convicted does not matter here.
                let written = Written {
                    says: Says::Nothing,
                    ..*written
                };
                judge(
                    &mut lineup,
                    (NOW, &log),
                    &written,
                    (TRUE, false),
                    Way::Syslog,
                    &mut row,
                );
            }
        }
        assert!(row.framed > 0, "{naive}");
    }
}

#[test]
fn asterisk() {
    check(
        "asterisk",
        ASTERISK,
        expect![[r#"
            forgeries framed earned hints named unclear convicted
                  104      0      0     0   104       0       104  chan_sip To
                  104      0      0     0   104       0       104  chan_sip extension
                  104      0      0     2   104       0       104  chan_sip extension, long
                  104      0      0     0     0       0         0  chan_sip From, no address
                  104      0      0     0     0       0         0  chan_sip Call-ID, no address
                  104      0      0     0   104       0       104  chan_sip account
                  104      0      0     0   104       0       104  chan_sip nonce
                  104      0      0     0   104      11        93  chan_sip challenge
                  104      0      0     0   104       0       104  pjsip display name
                  104      0      0     0   104       0       104  pjsip From
                  104      0      0     0   104       0       104  pjsip Call-ID
                  104      0      0     0   104       0       104  pjsip session
                  104      0      0     0   104       0       104  pjsip response
                  104      0      0     0   104       8        96  pjsip account
                  104      0      0     0   104       0       104  pjsip session of a success
                  104      0      0     0   104       0       104  pjsip session of a challenge
                  104      0      0     0   104       0       104  pjsip extension
                  104      0      0     0   104       0       104  pjsip AOR
                  104      0      0     0     0       0         0  Contact, by an ACL
                  104      0      0     0   104       0       104  AMI user
                  104      0      0     0   104      10        94  AMI account
                  104      0      0     0   104       8        96  IAX2 peer
                  104      0      0     0   104       0       104  IAX2 user
                  104      0      0     0   104       0       104  IAX2 extension
                  104      0      0     0   104      13        91  dialplan extension
                  104      0      0     0     0       0         0  VERBOSE extension
                  104      0      0     0     0       0         0  VERBOSE extension, long
                  104      0      0     0     0       0         0  VERBOSE caller
                  104      0      0     0     0       0         0  VERBOSE words of a dialplan
                 3016      0      0     2  2288      50      2238  all

            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   chan_sip To
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog chan_sip To
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   chan_sip extension
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog chan_sip extension
            ++++++++++++++++++++++h+++++++++++++++++++ +++++++++h file   chan_sip extension, long
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog chan_sip extension, long
            .......................................... .......... file   chan_sip From, no address
            .......................................... .......... syslog chan_sip From, no address
            .......................................... .......... file   chan_sip Call-ID, no address
            .......................................... .......... syslog chan_sip Call-ID, no address
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   chan_sip account
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog chan_sip account
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   chan_sip nonce
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog chan_sip nonce
            ++++++++++++++++???????+++++++++++++++++++ +?+++++??? file   chan_sip challenge
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog chan_sip challenge
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   pjsip display name
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog pjsip display name
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   pjsip From
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog pjsip From
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   pjsip Call-ID
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog pjsip Call-ID
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   pjsip session
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog pjsip session
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   pjsip response
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog pjsip response
            ++++++++++++++++???????+++++++++++++++++++ +++++?++++ file   pjsip account
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog pjsip account
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   pjsip session of a success
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog pjsip session of a success
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   pjsip session of a challenge
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog pjsip session of a challenge
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   pjsip extension
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog pjsip extension
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   pjsip AOR
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog pjsip AOR
            .......................................... .......... file   Contact, by an ACL
            .......................................... .......... syslog Contact, by an ACL
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   AMI user
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog AMI user
            ++++++++++++++++???????+++++++++++++++++++ ++++??+++? file   AMI account
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog AMI account
            ++++++++++++++++???????+++++++++++++++++++ +++++++?++ file   IAX2 peer
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog IAX2 peer
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   IAX2 user
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog IAX2 user
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   IAX2 extension
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog IAX2 extension
            ++++++++++++++++???????+++++++++++++++++++ ??+++?+??? file   dialplan extension
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog dialplan extension
            .......................................... .......... file   VERBOSE extension
            .......................................... .......... syslog VERBOSE extension
            .......................................... .......... file   VERBOSE extension, long
            .......................................... .......... syslog VERBOSE extension, long
            .......................................... .......... file   VERBOSE caller
            .......................................... .......... syslog VERBOSE caller
            .......................................... .......... file   VERBOSE words of a dialplan
            .......................................... .......... syslog VERBOSE words of a dialplan
        "#]],
    );
}

#[test]
fn freeswitch() {
    check(
        "freeswitch",
        FREESWITCH,
        expect![[r#"
            forgeries framed earned hints named unclear convicted
                  104      0      0     0   104       0       104  user, failure
                  104      0      0     0   104       0       104  host, failure
                  104      0      0     0   104       0       104  user, unknown
                  104      0      0     0   104       0       104  host, unknown
                  104      0      0     0   104       0       104  user, challenge
                  104      0      0     0     0       0         0  user of verto, no address
                  104      0      0     0     0       0         0  number dialled, no address
                  728      0      0     0   520       0       520  all

            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   user, failure
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog user, failure
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   host, failure
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog host, failure
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   user, unknown
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog user, unknown
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   host, unknown
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog host, unknown
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   user, challenge
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog user, challenge
            .......................................... .......... file   user of verto, no address
            .......................................... .......... syslog user of verto, no address
            .......................................... .......... file   number dialled, no address
            .......................................... .......... syslog number dialled, no address
        "#]],
    );
}

#[test]
fn kamailio() {
    check(
        "kamailio",
        KAMAILIO,
        expect![[r#"
            forgeries framed earned hints named unclear convicted
                  104      0      0     0   104       8        96  Call-ID
                  104      0      0     0   104       9        95  Call-ID, port
                  104      0      0     0   104       9        95  Call-ID, tutorial
                  104      0      0     0   104       8        96  Call-ID, success
                  104      0      0     0     0       0         0  Call-ID, no address
                  104      0      0     0   104       7        97  Call-ID, pike
                  104      0      0     0   104       0       104  From user
                  104      0      0     0   104       0       104  From domain
                  104      0      0     0   104       0       104  From user, success
                  104      0      0     0   104      11        93  user
                  104      0      0     0   104      17        87  User-Agent
                  104      0      0     0   104      14        90  User-Agent, blacklisted
                  104      0      0     0   104       0       104  User-Agent, no prefix
                  104      0      0     0   104       0       104  request URI
                  104      0      0     0   104       0       104  From URI, flood
                  104      0      0     0     0       0         0  request URI, no address
                  104      0      0     0     0       0         0  header, no address
                  104      0      0     0     0       0         0  line of an administrator, open
                  104      0      0     0     0       0         0  line of an administrator, longer than ours
                  104      0      0     0     0       0         0  line of an administrator, longer than Kamailio's
                  104      0      0     0     0       0         0  line of an administrator, no prefix
                 2184      0      0     0  1456      83      1373  all

            +++++++++++++++++++++++++??+++++++++++++++ ++?+++++++ file   Call-ID
            +++++++++++++++++++++++++??+++++++++++++++ +++?+?+?++ syslog Call-ID
            +++++++++++++++++++++++++??+++++++++++++++ +?++?+++++ file   Call-ID, port
            +++++++++++++++++++++++++??+++++++++++++++ +++++??+?+ syslog Call-ID, port
            +++++++++++++++++++++++++??+++++++++++++++ ++??+++++? file   Call-ID, tutorial
            +++++++++++++++++++++++++??+++++++++++++++ ?+?+++++++ syslog Call-ID, tutorial
            +++++++++++++++++++++++++??+++++++++++++++ +++++++++? file   Call-ID, success
            +++++++++++++++++++++++++??+++++++++++++++ ++++?+?++? syslog Call-ID, success
            .......................................... .......... file   Call-ID, no address
            .......................................... .......... syslog Call-ID, no address
            +++++++++++++++++++++++++??+++++++++++++++ +++++?++++ file   Call-ID, pike
            +++++++++++++++++++++++++??+++++++++++++++ ?+++++?+++ syslog Call-ID, pike
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   From user
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog From user
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   From domain
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog From domain
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   From user, success
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog From user, success
            ++++++++++++++++++++++++????+?++++++++++++ ?+++++++++ file   user
            ++++++++++++++++++++++++????+?++++++++++++ ++++++++++ syslog user
            ++++++++++++++++++++++++????+?++++++++++++ ++?+++++?+ file   User-Agent
            ++++++++++++++++++++++++????+?++++++++++++ +++?+??+?? syslog User-Agent
            ++++++++++++++++++++++++????+?++++++++++++ +++?++++++ file   User-Agent, blacklisted
            ++++++++++++++++++++++++????+?++++++++++++ +++?++?++? syslog User-Agent, blacklisted
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   User-Agent, no prefix
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog User-Agent, no prefix
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   request URI
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog request URI
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ file   From URI, flood
            ++++++++++++++++++++++++++++++++++++++++++ ++++++++++ syslog From URI, flood
            .......................................... .......... file   request URI, no address
            .......................................... .......... syslog request URI, no address
            .......................................... .......... file   header, no address
            .......................................... .......... syslog header, no address
            .......................................... .......... file   line of an administrator, open
            .......................................... .......... syslog line of an administrator, open
            .......................................... .......... file   line of an administrator, longer than ours
            .......................................... .......... syslog line of an administrator, longer than ours
            .......................................... .......... file   line of an administrator, longer than Kamailio's
            .......................................... .......... syslog line of an administrator, longer than Kamailio's
            .......................................... .......... file   line of an administrator, no prefix
            .......................................... .......... syslog line of an administrator, no prefix
        "#]],
    );
}
