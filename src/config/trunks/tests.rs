use super::peer::{of_uri, peer};
use super::*;

/// Writes files, and shows what is found in them: `FILE:LINE VALUE WHAT`.
fn shown(files: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(
            path,
            text.replace("FOLDER", &folder.path().display().to_string()),
        )
        .unwrap();
    }
    let found = find(&Places {
        asterisk: folder.path().join("asterisk"),
        freeswitch: folder.path().join("freeswitch"),
        kamailio: folder.path().join("kamailio"),
    });
    let file = |path: &Path| {
        let inside = path.strip_prefix(folder.path()).unwrap_or(path);
        inside.display().to_string()
    };
    let suggestions = found.suggestions.iter().map(|one| {
        format!(
            "{}:{} {} {}\n",
            file(&one.file),
            one.line,
            one.value,
            one.what
        )
    });
    let problems = found
        .problems
        .iter()
        .map(|one| format!("{}:{} ! {}\n", file(&one.file), one.line, one.message));
    let shown: String = suggestions.chain(problems).collect();
    shown.replace(&folder.path().display().to_string(), "FOLDER")
}

#[test]
fn trunks_of_pjsip() {
    let shown = shown(&[
        (
            "asterisk/pjsip.conf",
            "; our trunks
[global]
type=global
[trunk](!)
type = identify ; of all
match=192.0.2.99 ; a template names nobody
#include \"pjsip.d/*.conf\"
#tryinclude nothing.conf
#include missing.conf
#exec /bin/false
[1001]
type=aor
max_contacts=1
;-- [old]
type=identify
match=192.0.2.98 --; [reg]
type=registration
server_uri=sip:reg.example.net\\;transport=tcp
client_uri=sip:me@192.0.2.97
[1001](+)
type=endpoint
outbound_proxy=sip:proxy.example.net\\;lr
",
        ),
        (
            "asterisk/pjsip.d/a.conf",
            "[first](trunk)
endpoint=first
match=192.0.2.7,198.51.100.0/255.255.255.0,Sip.Example.net
[first]
type=aor
contact=sip:me@203.0.113.5:5080
contact=sip:${TRUNK}
[second](nowhere)
type=identify
match=127.0.0.1
",
        ),
    ]);
    expect_test::expect![[r#"
        asterisk/pjsip.conf:6 192.0.2.99 pjsip identify first
        asterisk/pjsip.d/a.conf:3 192.0.2.7 pjsip identify first
        asterisk/pjsip.d/a.conf:3 198.51.100.0/24 pjsip identify first
        asterisk/pjsip.d/a.conf:3 sip.example.net pjsip identify first
        asterisk/pjsip.d/a.conf:6 203.0.113.5 pjsip aor first
        asterisk/pjsip.conf:18 reg.example.net pjsip registration reg
        asterisk/pjsip.conf:22 proxy.example.net pjsip endpoint 1001
        asterisk/pjsip.d/a.conf:8 ! there is no template `nowhere`
        asterisk/pjsip.conf:9 ! the included file missing.conf is not there
        asterisk/pjsip.conf:10 ! #exec /bin/false is not run; what it says is not known here
        asterisk/pjsip.d/a.conf:7 ! pjsip aor first: `${TRUNK}` is neither an address nor a host name; write it into `protect` by hand if it is a trunk
    "#]]
    .assert_eq(&shown);
}

#[test]
fn peers_of_chan_sip_and_iax() {
    let shown = shown(&[
        (
            "asterisk/sip.conf",
            "stray=1
[general]
register => me:se@cret/pa:ss@sip.example.net:5061/1234
register => nobody
outboundproxy=192.0.2.5:5060,force
[1001]
host=dynamic
secret=192.0.2.66
[provider]
type=peer
host = 192.0.2.7
host=2001:db8::7
",
        ),
        ("asterisk/iax.conf", "[office]\nhost=office.example.net\n"),
    ]);
    expect_test::expect![[r#"
        asterisk/sip.conf:3 sip.example.net sip register
        asterisk/sip.conf:5 192.0.2.5 sip general
        asterisk/sip.conf:11 192.0.2.7 sip provider
        asterisk/sip.conf:12 2001:db8::7 sip provider
        asterisk/iax.conf:2 office.example.net iax office
        asterisk/sip.conf:1 ! a setting in front of the first [section]
        asterisk/sip.conf:4 ! register: no `@HOST` in it
    "#]]
    .assert_eq(&shown);
}

#[test]
fn gateways_and_lists_of_freeswitch() {
    let shown = shown(&[
        (
            "freeswitch/sip_profiles/external/example.xml",
            "<include>
  <gateway name=\"sip.example.net\">
<!-- <param name=\"proxy\" value=\"192.0.2.66\"/> -->
<param name=\"username\" value=\"me\"/>
<param name=\"password\" value=\"192.0.2.67\"/>
  </gateway>
  <gateway name=\"other\">
<param name=\"realm\" value=\"realm.example.net\"/>
<param name=\"proxy\" value=\"sip:192.0.2.7:5080;transport=tcp\"/>
<param name=\"outbound-proxy\" value=\"$${proxy}\"/>
  </gateway>
</include>
",
        ),
        (
            "freeswitch/autoload_configs/acl.conf.xml",
            "<configuration name=\"acl.conf\"><network-lists>
<list name=\"providers\" default=\"deny\">
  <node type=\"allow\" cidr=\"198.51.100.0/24\"/>
  <node type=\"deny\" cidr=\"203.0.113.0/24\"/>
  <node type=\"allow\" domain=\"x\"/>
</list></network-lists></configuration>
",
        ),
        (
            "freeswitch/sip_profiles/internal.xml",
            "<profile>\n<gateway name=\"x\"",
        ),
    ]);
    expect_test::expect![[r#"
        freeswitch/sip_profiles/external/example.xml:2 sip.example.net FreeSWITCH gateway sip.example.net
        freeswitch/sip_profiles/external/example.xml:8 realm.example.net FreeSWITCH gateway other
        freeswitch/sip_profiles/external/example.xml:9 192.0.2.7 FreeSWITCH gateway other
        freeswitch/autoload_configs/acl.conf.xml:3 198.51.100.0/24 FreeSWITCH list providers
        freeswitch/sip_profiles/internal.xml:2 ! this is no XML: syntax error: tag not closed: `>` not found before end of input
        freeswitch/sip_profiles/external/example.xml:10 ! FreeSWITCH gateway other: `$${proxy}` is neither an address nor a host name; write it into `protect` by hand if it is a trunk
    "#]].assert_eq(&shown);
}

#[test]
fn destinations_and_addresses_of_kamailio() {
    let shown = shown(&[
        (
            "kamailio/kamailio.cfg",
            "#modparam(\"dispatcher\", \"list_file\", \"/nowhere\")
modparam(\"dispatcher\", \"list_file\", \"FOLDER/kamailio/mine.list\")
modparam(\"auth_db|permissions\", \"db_url\", \"text://FOLDER/tables\")
",
        ),
        (
            "kamailio/mine.list",
            "# setid destination
1 sip:192.0.2.7:5060 0 0 weight=50
1 sip:sip.example.net;transport=tcp
2 sip:127.0.0.1:5080
",
        ),
        (
            "kamailio/address.list",
            "(comment\n1 192.0.2.0/24 5060\n2 198.51.100.7 32 0 tag\n",
        ),
        (
            "tables/address",
            "id(int,auto) grp(int) ip_addr(string) mask(int) port(int) tag(string,null)
1:1:203.0.113.0:24:5060:office
2:1:2001\\:db8\\:\\:7:128:0:
3:1:300.1.1.1:32:0:
",
        ),
        (
            "tables/dispatcher",
            "id(int,auto) setid(int) destination(string) flags(int)
1:4:sip\\:dispatch.example.net\\:5060:0
",
        ),
    ]);
    expect_test::expect![[r#"
        kamailio/mine.list:2 192.0.2.7 Kamailio dispatcher set 1
        kamailio/mine.list:3 sip.example.net Kamailio dispatcher set 1
        kamailio/address.list:2 192.0.2.0/24 Kamailio address group 1
        kamailio/address.list:3 198.51.100.7 Kamailio address group 2
        tables/dispatcher:2 dispatch.example.net Kamailio dispatcher set 4
        tables/address:2 203.0.113.0/24 Kamailio address group 1
        tables/address:3 2001:db8::7 Kamailio address group 1
        tables/address:4 ! Kamailio address group 1: `300.1.1.1/32` is neither an address nor a host name; write it into `protect` by hand if it is a trunk
    "#]].assert_eq(&shown);
}

#[test]
fn files_that_include_each_other_are_read_once() {
    let chain = |n: usize| {
        let next = format!("[t{n}]\nhost=192.0.2.{n}\n#include s{}.conf\n", n + 1);
        (format!("asterisk/s{n}.conf"), next)
    };
    let chain: Vec<(String, String)> = (1..20).map(chain).collect();
    let mut files: Vec<(&str, &str)> = vec![
        (
            "asterisk/pjsip.conf",
            "#include pjsip.conf\n#include b.conf\n",
        ),
        (
            "asterisk/b.conf",
            "#include \"./pjsip.conf\"\n[b]\ntype=identify\nmatch=192.0.2.99\n",
        ),
        ("asterisk/sip.conf", "#include s1.conf\n"),
        (
            "freeswitch/sip_profiles/a.xml",
            "<X-PRE-PROCESS cmd=\"include\" data=\"*.xml\"/>\n<gateway name=\"192.0.2.98\"/>",
        ),
        (
            "freeswitch/sip_profiles/b.xml",
            "<include>\n<X-PRE-PROCESS cmd=\"include\" data=\"../sip_profiles/a.xml\"/></include>",
        ),
        ("kamailio/kamailio.cfg", "import_file \"local.cfg\"\n"),
        (
            "kamailio/local.cfg",
            "#!include_file \"kamailio.cfg\"\nimport_file 'local.cfg'\nmodparam(\"dispatcher\", \"list_file\", \"nowhere\")",
        ),
    ];
    files.extend(
        chain
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str())),
    );
    expect_test::expect![[r#"
        asterisk/b.conf:4 192.0.2.99 pjsip identify b
        asterisk/s1.conf:2 192.0.2.1 sip t1
        asterisk/s2.conf:2 192.0.2.2 sip t2
        asterisk/s3.conf:2 192.0.2.3 sip t3
        asterisk/s4.conf:2 192.0.2.4 sip t4
        asterisk/s5.conf:2 192.0.2.5 sip t5
        asterisk/s6.conf:2 192.0.2.6 sip t6
        asterisk/s7.conf:2 192.0.2.7 sip t7
        asterisk/s8.conf:2 192.0.2.8 sip t8
        asterisk/s9.conf:2 192.0.2.9 sip t9
        asterisk/s10.conf:2 192.0.2.10 sip t10
        asterisk/s11.conf:2 192.0.2.11 sip t11
        asterisk/s12.conf:2 192.0.2.12 sip t12
        asterisk/s13.conf:2 192.0.2.13 sip t13
        asterisk/s14.conf:2 192.0.2.14 sip t14
        asterisk/s15.conf:2 192.0.2.15 sip t15
        asterisk/s16.conf:2 192.0.2.16 sip t16
        freeswitch/sip_profiles/a.xml:2 192.0.2.98 FreeSWITCH gateway 192.0.2.98
        asterisk/pjsip.conf:1 ! FOLDER/asterisk/pjsip.conf is being read already: it includes itself, and is left out here
        asterisk/b.conf:1 ! FOLDER/asterisk/./pjsip.conf is being read already: it includes itself, and is left out here
        asterisk/s16.conf:3 ! more than 16 includes in each other; FOLDER/asterisk/s17.conf is left out
        freeswitch/sip_profiles/a.xml:1 ! FOLDER/freeswitch/sip_profiles/a.xml is being read already: it includes itself, and is left out here
        freeswitch/sip_profiles/b.xml:2 ! FOLDER/freeswitch/sip_profiles/../sip_profiles/a.xml is being read already: it includes itself, and is left out here
        kamailio/local.cfg:1 ! FOLDER/kamailio/kamailio.cfg is being read already: it includes itself, and is left out here
        kamailio/local.cfg:2 ! FOLDER/kamailio/local.cfg is being read already: it includes itself, and is left out here
        kamailio/local.cfg:3 ! the list_file FOLDER/kamailio/nowhere is not there
    "#]].assert_eq(&shown(&files));
}

#[test]
fn many_files_come_to_an_end() {
    // Each doubles the next: 2^14 files, if nobody counted.
    let double = |n: usize| {
        let next = format!("#include d{0}.conf\n#include d{0}.conf\n", n + 1);
        (format!("asterisk/d{n}.conf"), next)
    };
    let doubles: Vec<(String, String)> = (0..14).map(double).collect();
    let mut files: Vec<(&str, &str)> = vec![
        ("asterisk/pjsip.conf", "#include d0.conf\n"),
        ("asterisk/d14.conf", "[x]\n"),
        ("kamailio/address.list", "1 192.0.2.7 32\n"),
    ];
    files.extend(
        doubles
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str())),
    );
    expect_test::expect![[r#"
        kamailio/address.list:1 192.0.2.7 Kamailio address group 1
        asterisk/d12.conf:1 ! more than 512 files; FOLDER/asterisk/d13.conf and all further ones of this server are left out
    "#]].assert_eq(&shown(&files));
}

#[test]
fn a_pipe_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("sip.conf");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    std::os::unix::fs::symlink("/dev/zero", folder.path().join("iax.conf")).unwrap();
    let found = find(&Places {
        asterisk: folder.path().to_owned(),
        freeswitch: folder.path().join("x"),
        kamailio: pipe.clone(),
    });
    let problems = found
        .problems
        .iter()
        .map(|one| format!("{}: {}\n", one.file.display(), one.message));
    let problems: String = problems.collect();
    expect_test::expect![[r#"
        FOLDER/sip.conf: it is no plain file
        FOLDER/iax.conf: it is no plain file
        FOLDER/sip.conf: Not a directory (os error 20)
    "#]]
    .assert_eq(&problems.replace(&folder.path().display().to_string(), "FOLDER"));
}

#[test]
fn objects_of_asterisk_that_lie_elsewhere_are_said() {
    let shown = shown(&[
        (
            "asterisk/extconfig.conf",
            "[settings]\n;sippeers => odbc,asterisk\nps_endpoint_id_ips => odbc,asterisk\nsippeers => mysql,general,peers\nqueues => odbc,asterisk\n",
        ),
        (
            "asterisk/sorcery.conf",
            "[res_pjsip]
endpoint/cache=memory_cache,expire_on_reload=yes
endpoint=realtime,ps_endpoints
endpoint=config,pjsip.conf,criteria=type=endpoint
aor=config,trunks.conf,criteria=type=aor
auth=realtime,ps_auths
[res_pjsip_endpoint_identifier_ip]
identify=realtime,ps_endpoint_id_ips
",
        ),
        (
            "asterisk/trunks.conf",
            "[t]\ntype=aor\ncontact=sip:192.0.2.7\n",
        ),
    ]);
    expect_test::expect![[r#"
        asterisk/trunks.conf:3 192.0.2.7 trunks aor t
        asterisk/extconfig.conf:3 ! ps_endpoint_id_ips comes from odbc: a database is not read here; write its trunks into `protect` by hand
        asterisk/extconfig.conf:4 ! sippeers comes from mysql: a database is not read here; write its trunks into `protect` by hand
        asterisk/sorcery.conf:3 ! pjsip endpoint comes from realtime: a database is not read here; write its trunks into `protect` by hand
        asterisk/sorcery.conf:8 ! pjsip identify comes from realtime: a database is not read here; write its trunks into `protect` by hand
    "#]].assert_eq(&shown);
}

#[test]
fn variables_users_and_answers_of_freeswitch() {
    let shown = shown(&[
        (
            "freeswitch/vars.xml",
            "<include><X-PRE-PROCESS cmd=\"set\" data=\"provider=sip.example.net\"/>
<X-PRE-PROCESS cmd=\"set\" data=\"loop=$${loop}\"/>
<X-PRE-PROCESS cmd=\"exec-set\" data=\"ip=curl x\"/>
<X-PRE-PROCESS cmd=\"include\" data=\"more/missing.xml\"/>
<X-PRE-PROCESS cmd=\"include\" data=\"more/m*.xml\"/></include>",
        ),
        (
            "freeswitch/more/mine.xml",
            "<X-PRE-PROCESS cmd=\"set\" data=\"port=5080\"/>",
        ),
        (
            "freeswitch/sip_profiles/external.xml",
            "<profile><X-PRE-PROCESS cmd=\"include\" data=\"external/*.xml\"/></profile>",
        ),
        (
            "freeswitch/sip_profiles/external/a.xml",
            "<gateway name=\"a\">
<param name=\"realm\" value=\"$${provider}\"/>
<param name=\"proxy\" value=\"proxy.$${provider}:$${port}\"/>
<param name=\"outbound-proxy\" value=\"$${ip}\"/>
<param name=\"register-proxy\" value=\"$${loop}$${\"/>
</gateway>",
        ),
        (
            "freeswitch/autoload_configs/xml_curl.conf.xml",
            "<configuration><bindings><binding>
<!-- <param name=\"gateway-url\" value=\"http://old\"/> -->
<param name=\"gateway-url\" value=\"http://u:secret@192.0.2.66/x\" bindings=\"configuration\"/>
</binding></bindings></configuration>",
        ),
        (
            "freeswitch/directory/default/1.xml",
            "<include><user id=\"1\" cidr=\"192.0.2.7/32,198.51.100.0/24\"></user><user id=\"2\"/></include>",
        ),
    ]);
    expect_test::expect![[r#"
        freeswitch/sip_profiles/external/a.xml:2 sip.example.net FreeSWITCH gateway a
        freeswitch/sip_profiles/external/a.xml:3 proxy.sip.example.net FreeSWITCH gateway a
        freeswitch/directory/default/1.xml:1 192.0.2.7 FreeSWITCH user 1
        freeswitch/directory/default/1.xml:1 198.51.100.0/24 FreeSWITCH user 1
        freeswitch/vars.xml:4 ! the included file more/missing.xml is not there
        freeswitch/sip_profiles/external/a.xml:4 ! FreeSWITCH gateway a: `$${ip}` is neither an address nor a host name; write it into `protect` by hand if it is a trunk
        freeswitch/sip_profiles/external/a.xml:5 ! FreeSWITCH gateway a: `$${loop}$${` is neither an address nor a host name; write it into `protect` by hand if it is a trunk
        freeswitch/autoload_configs/xml_curl.conf.xml:3 ! gateway-url: what it answers is not asked for here; if gateways, lists or users come from it, write its trunks into `protect` by hand
    "#]].assert_eq(&shown);
}

#[test]
fn what_kamailio_keeps_elsewhere_is_said() {
    let shown = shown(&[
        (
            "kamailio/kamailio.cfg",
            "#!KAMAILIO
#!substdef \"!LISTS!FOLDER/lists!g\"
#!ifdef WITH_MYSQL
#!trydef DBURL \"mysql://kamailio:secret@localhost/kamailio\"
#!else
#!trydefine DBURL \"text://FOLDER/tables\"
#!endif
/* modparam(\"dispatcher\", \"db_url\", \"mysql://no\") */
// modparam(\"dispatcher\", \"db_url\", \"mysql://no\")
import_file \"kamailio-local.cfg\"
import_file \"nothing.cfg\"
include_file \"missing.cfg\"
modparam(\"auth_db\", \"db_url\", DBURL)
modparam(\"dispatcher\",
    # where it lies
    \"list_file\",
    \"LISTS/\" \"mine\")
#!ifdef WITH_IPAUTH
modparam(\"permissions|auth_db\", \"db_url\", DBURL)
#!endif
modparam(\"uac\", \"reg_db_url\", \"postgres://u:secret@db/k\"); modparam(\"drouting\", \"db_url\", ELSEWHERE)
modparam(\"permissions\", \"address_file\", NAME)
modparam(\"tm\", \"fr_timer\", -1)
modparam(\"tm\", \"x\")
route { xlog(\"it's modparam(\\\"dispatcher\\\", \\\"db_url\\\", 1)\\n\"); }
",
        ),
        (
            "kamailio/kamailio-local.cfg",
            "modparam(\"dispatcher\", \"db_url\", 'mysql://u:secret@h/k')\nloadmodule \"x.so\n",
        ),
        ("lists/mine", "1 sip:192.0.2.7\n"),
        ("tables/address", "grp(int) ip_addr(string)\n1:192.0.2.8\n"),
    ]);
    assert!(!shown.contains("secret"), "{shown}");
    expect_test::expect![[r#"
        lists/mine:1 192.0.2.7 Kamailio dispatcher set 1
        tables/address:2 192.0.2.8 Kamailio address group 1
        kamailio/kamailio-local.cfg:2 ! a string or a comment that begins here does not end; what follows is not read
        kamailio/kamailio.cfg:12 ! the included file missing.cfg is not there
        kamailio/kamailio.cfg:24 ! modparam: not understood; expected are ("module", "name", value)
        kamailio/kamailio-local.cfg:1 ! dispatcher keeps its trunks in a database (mysql), which is not read here: write them into `protect` by hand
        kamailio/kamailio.cfg:19 ! permissions keeps its trunks in a database (mysql, under `#!ifdef WITH_IPAUTH`), which is not read here: write them into `protect` by hand
        kamailio/kamailio.cfg:21 ! uac keeps its trunks in a database (postgres), which is not read here: write them into `protect` by hand
        kamailio/kamailio.cfg:21 ! drouting keeps its trunks in a database (`ELSEWHERE`), which is not read here: write them into `protect` by hand
        kamailio/kamailio.cfg:22 ! permissions address_file: `NAME` is defined nowhere in kamailio.cfg; write the trunks of that file into `protect` by hand
    "#]].assert_eq(&shown);
}

#[test]
fn very_many_peers_come_to_an_end() {
    let hosts = "192.0.2.7,".repeat(800);
    let sections: String = (0..130).map(|n| format!("[s{n}](t)\n")).collect();
    let long = "192.0.2.8,".repeat(820);
    let text = format!(
        "[t](!)\ntype=identify\nmatch={hosts}\n[l]\ntype=identify\nmatch={long}\n{sections}"
    );
    let shown = shown(&[("asterisk/pjsip.conf", &text)]);
    expect_test::expect![[r#"
        asterisk/pjsip.conf:3 192.0.2.7 pjsip identify s0
        asterisk/pjsip.conf:6 ! longer than 8192 bytes: Asterisk does not read such a line
        asterisk/pjsip.conf:3 ! more than 100000 peers; all from here on are left out
    "#]]
    .assert_eq(&shown);
}

#[test]
fn templates_of_templates_come_to_an_end() {
    let shown_of_pjsip = |text: &str| shown(&[("asterisk/pjsip.conf", text)]);
    let line = |n: usize| format!("[t{n}](t{before},t{before})\n", before = n - 1);
    let templates: String = (1..60).map(line).collect();
    let doubling = shown_of_pjsip(&format!(
        "[t0]\ntype=identify\nmatch=192.0.2.7\n{templates}"
    ));
    assert!(
        doubling.contains("more than 100000 settings come from templates; what `t15` says"),
        "{doubling}"
    );
    let nested = "modparam(\"\n'#!ifdef\n#!else\n#!substdef \"!a!aa!\"\n/* $${".repeat(1_000);
    assert!(shown_len(&nested) < 1_000_000);
    let broken = shown_len(&"[a](\n;--\n=\n#\n[\n\\;".repeat(1_000));
    assert!(broken < 1_000_000);
}

fn shown_len(text: &str) -> usize {
    let names = [
        "asterisk/pjsip.conf",
        "asterisk/sip.conf",
        "freeswitch/sip_profiles/a.xml",
        "freeswitch/vars.xml",
        "kamailio/kamailio.cfg",
        "kamailio/dbtext/address",
    ];
    shown(&names.map(|name| (name, text))).len()
}

#[test]
fn peers_as_they_are_written() {
    for (written, expected) in [
        ("192.0.2.7", Some("192.0.2.7")),
        ("192.0.2.7:5060", Some("192.0.2.7")),
        ("192.0.2.7/24", Some("192.0.2.0/24")),
        ("192.0.2.7/255.255.255.128", Some("192.0.2.0/25")),
        ("[2001:db8::7]:5060", Some("2001:db8::7")),
        ("2001:db8::7", Some("2001:db8::7")),
        ("2001:db8::/48", Some("2001:db8::/48")),
        ("SIP.example.net.", Some("sip.example.net")),
        ("sip.example.net:5060", Some("sip.example.net")),
        ("192.0.2.7/255.0.255.0", None),
        ("0.0.0.0/0", None),
        ("192.0.2", None),
        ("${TRUNK}", None),
        ("a b", None),
        ("\u{1b}[2J", None),
    ] {
        assert_eq!(peer(written).as_deref(), expected, "{written}");
    }
    for (uri, expected) in [
        ("sip:192.0.2.7:5060", "192.0.2.7:5060"),
        ("sip:user@sip.example.net", "sip.example.net"),
        (
            "\"X\" <sips:u@[2001:db8::7]:5061;transport=tls>",
            "[2001:db8::7]:5061",
        ),
        ("sip:192.0.2.7\\;lr", "192.0.2.7"),
        ("sip.example.net", "sip.example.net"),
    ] {
        assert_eq!(of_uri(uri), expected, "{uri}");
    }
}
