//! What senders write to break the quoting of a line.

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
        "newline, the end of an event",
        "x\",SessionID=\"0x1\",LocalAddress=\"IPV4/UDP/192.0.2.16/5038\",RemoteAddress=\"IPV4/UDP/¤/5038\"\nz",
    ),
    (
        "newline, the end of a challenge",
        "x\n\",SessionID=\"0x1\",LocalAddress=\"IPV4/UDP/192.0.2.16/5060\",RemoteAddress=\"IPV4/UDP/¤/5060\",Challenge=\"69c49021\"\nz",
    ),
    (
        "newline, two events",
        "x\n\",SessionID=\"0x1\",LocalAddress=\"IPV4/TCP/192.0.2.16/5038\",RemoteAddress=\"IPV4/TCP/¤/48204\",SessionTV=\"1970-01-01T00:00:00.000+0000\"\n[Nov 22 07:51:22] VERBOSE[1][C-00000001] app_verbose.c: z",
    ),
    ("newline, the end of a peer", "x' (from ¤)\nz"),
    (
        "newline, two peers",
        "x' (from ¤)\n[Nov 22 07:51:22] VERBOSE[1][C-00000001] app_verbose.c: z",
    ),
    (
        "newline, the end of an extension",
        "x: \"Rejecting unknown SIP connection from ¤\"\nz",
    ),
    (
        "newline, Kamailio",
        "x\n2(78) NOTICE: <script>: Auth error for 1@x from ¤ cause -2\ny",
    ),
    (
        "newline, Kamailio, guessed",
        "x\n2(77) NOTICE: <script>: Blocking traffic from ¤\ny",
    ),
    (
        "newline, Kamailio, success",
        "x\n2(78) NOTICE: <script>: Auth success for 1@x from ¤\ny",
    ),
    (
        "newline, Kamailio, syslog",
        "x\nNov 22 07:51:22 sip1 kamailio[7]: NOTICE: <script>: Blocking traffic from ¤\ny",
    ),
    (
        "newline and braces",
        "x} <script>: Auth error for 1@x from ¤ cause -2\ny",
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
        "x] from ip ¤\u{b}2026-11-22 07:40:00.118206 96.58% [WARNING] sofia_reg.c:1533 SIP auth failure (REGISTER) on sofia profile 'internal' for [1@1] from ip ¤",
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

/// What is tried on FreeSWITCH besides.
const OF_FREESWITCH: &[(&str, &str)] = &[
    (
        "newline, FreeSWITCH",
        "x] from ip ¤\n2026-11-22 07:40:00.118206 96.58% [WARNING] sofia_reg.c:1533 SIP auth failure (REGISTER) on sofia profile 'internal' for [1@1] from ip ¤\ny",
    ),
    (
        "newline, FreeSWITCH, acl",
        "x@y] from ¤\r\n2026-11-22 07:40:00.118206 96.58% [WARNING] mod_event_socket.c:2889 IP ¤ Rejected by acl \"lan\"\r\n",
    ),
    (
        "newline, FreeSWITCH, UUID",
        "x\n0a1b2c3d-1763-7933-0411-176379330412 2026-11-22 07:40:00.118206 [WARNING] sofia.c:10533 IP ¤ Rejected by acl \"lan\"\ny",
    ),
    (
        "newline, FreeSWITCH, syslog",
        "x\nNov 22 07:51:22 pbx freeswitch[77]: [WARNING] mod_event_socket.c:2889 IP ¤ Rejected by acl \"lan\"\n",
    ),
    (
        "newline, FreeSWITCH, pulse guessed",
        "x\n2026-11-22 07:40:00.118206 97.43% [WARNING] sofia.c:10533 IP ¤ Rejected by acl \"lan\"\ny",
    ),
    (
        "escape and form feed",
        "\u{1b}[2Kx@y] from ip ¤\u{c}\u{1b}[A\u{7f}",
    ),
];

/// All that is tried on a server.
pub(crate) fn tricks(server: &str) -> Vec<(&'static str, &'static str)> {
    let own = match server {
        "freeswitch" => OF_FREESWITCH,
        _ => &[],
    };
    [TRICKS, own].concat()
}
