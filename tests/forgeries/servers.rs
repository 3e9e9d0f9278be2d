//! The lines that the three servers write, with the fields that a sender controls.

/// How the server writes what a sender sent, and so what of it can come through.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Pen {
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
    /// A method: letters, digits and `-.!%*_+` and some quotes, at most so many.
    Token,
    /// As it came, with what newlines are left of a folded header: a blank follows each.
    Folded,
    /// What lies in memory: anything but quotes and blanks.
    Memory,
    /// As it came, and the session's UUID is put before each line (FreeSWITCH).
    Prefixed,
}

/// FreeSWITCH's of a call.
pub(crate) const UUID: &str = "0a1b2c3d-1763-7933-0411-176379330412";

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
            Pen::Token => {
                let is_of_token =
                    |char: &char| char.is_ascii_alphanumeric() || "-.!%*_+`'~".contains(*char);
                plain.chars().filter(is_of_token).chain(['X']).collect()
            }
            Pen::Folded => text
                .replace("\r\n", "\n")
                .replace('\r', "%0d")
                .replace('\n', "\n "),
            Pen::Memory => plain.replace(
                [
                    '"', '\'', ' ', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}',
                ],
                "~",
            ),
            Pen::Prefixed => text.replace('\n', &format!("\n{UUID} ")),
        }
    }
}

fn encoded_newlines(text: &str) -> String {
    text.replace('\r', "%0d").replace('\n', "%0a")
}

/// What the server says with a line.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Says {
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
pub(crate) struct Written {
    pub(crate) field: &'static str,
    pub(crate) pen: Pen,
    pub(crate) says: Says,
    pub(crate) text: &'static str,
}

const fn written(field: &'static str, pen: Pen, says: Says, text: &'static str) -> Written {
    Written {
        field,
        pen,
        says,
        text,
    }
}

pub(crate) const ASTERISK: &[Written] = &[
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
        "pjsip From, too long",
        Pen::Memory,
        Says::Failed,
        "NOTICE[8686] res_pjsip/pjsip_distributor.c: Request 'REGISTER' from '@' failed for '$:5060' (callid: 1-9425) - Failed to authenticate",
    ),
    written(
        "pjsip From, cut",
        Pen::Uri,
        Says::Failed,
        "NOTICE[8686] res_pjsip/pjsip_distributor.c: Request 'REGISTER' from '\"a' b\" <sip:1001;@' failed for '$:5060' (callid: 1-9425) - Failed to authenticate",
    ),
    written(
        "pjsip display name, cut",
        Pen::Quoted,
        Says::Failed,
        "NOTICE[8686] res_pjsip/pjsip_distributor.c: Request 'REGISTER' from '\"@\" <sip:10'01;' failed for '$:5060' (callid: 1-9425) - Failed to authenticate",
    ),
    written(
        "pjsip method",
        Pen::Token,
        Says::Failed,
        "NOTICE[8686] res_pjsip/pjsip_distributor.c: Request '@' from '<sip:1001@192.0.2.16>' failed for '$:5060' (callid: 1-9425) - Failed to authenticate",
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
        "pjsip extension, 16 and 22",
        Pen::Decoded(79),
        Says::Failed,
        "NOTICE[12049] res_pjsip_session.c:  anonymous: Call (UDP:$:5060) to extension '@' rejected because extension not found in context 'default'.",
    ),
    written(
        "pjsip AOR",
        Pen::Uri,
        Says::Failed,
        "WARNING[12049] res_pjsip_registrar.c: AOR '@' not found for endpoint 'anonymous' ($:5060)",
    ),
    written(
        "pjsip extension, subscribed",
        Pen::Decoded(4096),
        Says::Nothing,
        "NOTICE[8686] res_pjsip_exten_state.c: Endpoint '1001' state subscription failed: Extension '@' does not exist in context 'public' or has no associated hint",
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

/// Of a call those that begin with `~`: the log file writes its UUID before them, and makes a
/// newline of `\\n` there.
pub(crate) const FREESWITCH: &[Written] = &[
    written(
        "user, failure",
        Pen::Folded,
        Says::Failed,
        "sofia_reg.c:1533 SIP auth failure (REGISTER) on sofia profile 'internal' for [@@192.0.2.1] from ip ^",
    ),
    written(
        "host, failure",
        Pen::Folded,
        Says::Failed,
        "sofia_reg.c:1533 SIP auth failure (INVITE) on sofia profile 'internal' for [1001@@] from ip ^",
    ),
    written(
        "user, unknown",
        Pen::Folded,
        Says::Failed,
        "sofia_reg.c:2531 Can't find user [@@192.0.2.1] from ^",
    ),
    written(
        "host, unknown",
        Pen::Folded,
        Says::Failed,
        "sofia_reg.c:2531 Can't find user [1001@@] from ^",
    ),
    written(
        "user, challenge",
        Pen::Folded,
        Says::Challenged,
        "sofia_reg.c:1533 SIP auth challenge (REGISTER) on sofia profile 'internal' for [@@192.0.2.1] from ip ^",
    ),
    written(
        "User-Agent, no address",
        Pen::Folded,
        Says::Nothing,
        "sofia_reg.c:3068 SIP auth failure (REGISTER) due to user-agent-filter.  Filter \"x\" User-Agent \"@\"",
    ),
    written(
        "user of verto, no address",
        Pen::Decoded(4096),
        Says::Nothing,
        "mod_verto.c:123 Login incorrect for user: @ domain: x",
    ),
    written(
        "session of verto, no address",
        Pen::Decoded(256),
        Says::Nothing,
        "mod_verto.c:1087 192.0.2.9:48204 re-connecting session @",
    ),
    written(
        "number dialled, no address",
        Pen::Decoded(2010),
        Says::Nothing,
        "~mod_dialplan_xml.c:637 Processing 1001 <1001>->@ in context public",
    ),
    written(
        "channel, no address",
        Pen::Decoded(2010),
        Says::Nothing,
        "~switch_channel.c:1142 New Channel sofia/external/@ [0a1b2c3d-1763-7933-0411-176379330412]",
    ),
    written(
        "Call-ID, no address",
        Pen::Decoded(2010),
        Says::Nothing,
        "~sofia.c:10460 sofia/external/1001 receiving invite from ^:5060 version: 1.10.12 64bit call-id: @",
    ),
    written(
        "SDP, no address",
        Pen::Prefixed,
        Says::Nothing,
        "~sofia.c:7634 Remote SDP:\n0a1b2c3d-1763-7933-0411-176379330412 @",
    ),
    written(
        "SDP, no UUIDs, no address",
        Pen::Decoded(4096),
        Says::Nothing,
        "sofia.c:7634 Remote SDP:\n@",
    ),
];

/// On standard error, as a container's runtime keeps it, and in syslog.
pub(crate) const KAMAILIO: &[Written] = &[
    written(
        "Call-ID",
        Pen::Folded,
        Says::Failed,
        "NOTICE: {1 1 REGISTER @} <script>: Auth error for 1001@192.0.2.10 from ^ cause -2",
    ),
    written(
        "Call-ID, port",
        Pen::Folded,
        Says::Failed,
        "WARNING: {1 1 REGISTER @} <script>: Failed REGISTER authentication from ^:5060 user=1001 ua=probe",
    ),
    written(
        "Call-ID, tutorial",
        Pen::Folded,
        Says::Failed,
        "ERROR: {1 1 INVITE @} <script>: Blocking traffic from ^",
    ),
    written(
        "Call-ID, success",
        Pen::Folded,
        Says::Succeeded,
        "NOTICE: {1 1 REGISTER @} <script>: Auth success for 1001@192.0.2.10 from ^",
    ),
    written(
        "Call-ID, no address",
        Pen::Folded,
        Says::Nothing,
        "ERROR: {1 1 REGISTER @} <core> [core/parser/parse_from.c:107]: parse_from_uri(): failed to parse From uri",
    ),
    written(
        "Call-ID, pike",
        Pen::Folded,
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
        Pen::Folded,
        Says::Failed,
        "WARNING: {1 1 REGISTER 7-1} <script>: Failed REGISTER authentication from ^:5060 user=1001 ua=@",
    ),
    written(
        "User-Agent, blacklisted",
        Pen::Folded,
        Says::Failed,
        "ALERT: {1 1 OPTIONS 7-1} <script>: OPTIONS from ^ blocked because UserAgent '@' is blacklisted",
    ),
    written(
        "User-Agent, no prefix",
        Pen::Folded,
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
        Pen::Folded,
        Says::Nothing,
        "INFO: {1 1 INVITE 7-1} <script>: y@",
    ),
    written(
        "line of an administrator, longer than ours",
        Pen::Folded,
        Says::Nothing,
        "NOTICE: {1 1 REGISTER 7-1} <script>: Auth error for 1001@192.0.2.10 from ^ cause -2 ua=@",
    ),
    written(
        "line of an administrator, longer than Kamailio's",
        Pen::Folded,
        Says::Nothing,
        "NOTICE: {1 1 INVITE 7-1} <script>: Not relaying INVITE to sip:a.example from sip:b.example (IP:^:5060) @",
    ),
    written(
        "line of an administrator, no prefix",
        Pen::Folded,
        Says::Nothing,
        "INFO: <script>: y@",
    ),
];

/// Where the lines come to.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Way {
    File,
    Syslog,
}

/// What the server writes of these words.
pub(crate) fn line(server: &str, written: &Written, words: &str, source: &str, way: Way) -> String {
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
            let (uuid, text) = match text.strip_prefix('~') {
                Some(text) => (format!("{UUID} "), text),
                None => (String::new(), text.as_str()),
            };
            let more = match text.contains("Can't find user [") {
                true => UNKNOWN,
                false => "",
            };
            format!("{uuid}2026-11-22 07:40:00.118206 97.43% [WARNING] {text}\n{more}")
        }
        ("freeswitch", Way::Syslog) => {
            format!(
                "Nov 22 07:51:22 pbx freeswitch[77]: [WARNING] {}\n",
                escaped(text.trim_start_matches('~'))
            )
        }
        (_, Way::File) => format!(" 2(77) {text}\n"),
        (_, Way::Syslog) => format!("Nov 22 07:51:22 sip1 kamailio[7]: {}\n", escaped(&text)),
    }
}

/// What FreeSWITCH writes of an unknown user behind the line that names the source.
const UNKNOWN: &str = "\
You must define a domain called '192.0.2.1' in your directory and add a user with the id=\"x\" attribute
and you must configure your device to use the proper domain in it's authentication credentials.
";

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
