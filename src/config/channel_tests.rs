//! Channels as they are configured: every kind, and every problem at once.

use super::super::parse;
use super::*;

const BUS: &str = "[bus]\nfile = \"b.db\"\n";

fn read(lines: &str) -> Vec<Channel> {
    let parsed = parse(&format!("{BUS}{lines}"));
    parsed.unwrap_or_else(|problems| panic!("{lines}\n{problems:#?}")).channels
}

#[test]
fn a_channel_of_each_kind_is_read() {
    let channels = read(
        "[[channel]]\nname = \"a\"\nkind = \"webhook\"\nurl = \"http://127.0.0.1:1/x\"\ntoken-file = \"t\"\nkey-file = \"k\"\n\
         [[channel]]\nname = \"b\"\nkind = \"alertmanager\"\nurl = \"https://am.example\"\n\
         [[channel]]\nname = \"c\"\nkind = \"pagerduty\"\nrouting-key-file = \"r\"\nescalations = true\nseverity = \"critical\"\n\
         [[channel]]\nname = \"d\"\nkind = \"slack\"\nurl-file = \"s\"\nrunbooks = \"https://w/x\"\n\
         [[channel]]\nname = \"e\"\nkind = \"chat\"\nurl-file = \"s\"\ntemplate-file = \"t.json\"\nrate = 5\ntimeout = \"3s\"\nca-file = \"ca.pem\"\nuntaken-for = \"30m\"\n\
         [[channel]]\nname = \"f\"\nkind = \"email\"\naddress = \"mail.example\"\nfrom = \"Millrace <m@example.org>\"\nto = [\"a@b.c\", \"d@e.f\"]\n\
         user = \"u\"\npassword-file = \"p\"\n\
         [[channel]]\nname = \"g\"\nkind = \"command\"\nprogram = \"/bin/true\"\narguments = [\"-v\"]\nclusters = [\"c1\"]\nrules = [\"LagHigh\"]\n",
    );
    let open = |url: &str| Hook { url: Address::Open(url.to_owned()), token_file: None, key_file: None };
    let secret = || Hook { url: Address::File("s".into()), token_file: None, key_file: None };
    let signed = Hook { token_file: Some("t".into()), key_file: Some("k".into()), ..open("http://127.0.0.1:1/x") };
    assert_eq!(channels[0].kind, Kind::Webhook(signed));
    let usual = (Severity::Info, false, RATE, TIMEOUT);
    assert_eq!((channels[0].severity, channels[0].escalations, channels[0].rate, channels[0].timeout), usual);
    assert_eq!(channels[1].kind, Kind::Alertmanager(open("https://am.example")));
    assert_eq!(channels[2].kind, Kind::Pagerduty { url: pagerduty::URL.to_owned(), routing_key_file: "r".into() });
    assert_eq!((channels[2].severity, channels[2].escalations), (Severity::Critical, true));
    assert_eq!(
        (&channels[3].kind, channels[3].style.runbooks.as_deref()),
        (&Kind::Slack(secret()), Some("https://w/x"))
    );
    assert_eq!(channels[4].kind, Kind::Chat { hook: secret(), template_file: "t.json".into() });
    assert_eq!((channels[4].rate, channels[4].timeout), (5, Duration::from_secs(3)));
    assert_eq!((&channels[3].ca_file, channels[3].untaken_for), (&None, None));
    let chat = (Some(PathBuf::from("ca.pem")), Some(Duration::from_mins(30)));
    assert_eq!((channels[4].ca_file.clone(), channels[4].untaken_for), chat);
    let Kind::Email(email) = &channels[5].kind else { panic!("{:?}", channels[5]) };
    assert_eq!((email.host.as_str(), email.port, email.to.len(), email.plain), ("mail.example", 587, 2, false));
    assert_eq!((channels[6].name(), channels[6].rules.clone()), ("g", vec!["LagHigh".to_owned()]));
}

#[test]
fn every_problem_of_a_channel_is_told_at_once() {
    let check = |lines: &str, expected: &[(usize, &str)]| {
        let problems = parse(&format!("{BUS}[[channel]]\n{lines}")).err().unwrap_or_default();
        assert_eq!(problems.len(), expected.len(), "{lines}\n{problems:#?}");
        for (problem, (line, what)) in problems.iter().zip(expected) {
            assert!(problem.line == *line && problem.what.contains(what), "{what} in line {line}: {problem:?}");
        }
    };
    check(
        "name = \"A b\"\nkind = \"telex\"\nurl = \"nowhere\"\ncolour = 1\nseverity = \"bad\"\nrate = 0\ntimeout = \"1h\"\nrules = [\"a b\"]\nescalations = 1\n",
        &[
            (4, "is no name"),
            (5, "is not known"),
            (7, "colour"),
            (8, "\"critical\""),
            (9, "a whole number"),
            (10, "from \"1s\" to \"60s\""),
            (11, "is no rule"),
            (12, "true or false"),
        ],
    );
    check("name = \"a\"\nkind = \"webhook\"\n", &[(3, "needs url")]);
    check("name = \"a\"\nkind = \"webhook\"\nurl = \"ftp://h\"\n", &[(6, "ftp is not known")]);
    check("name = \"a\"\nkind = \"webhook\"\nurl = \"http://u:p@h\"\n", &[(6, "a secret stands in it")]);
    check("name = \"a\"\nkind = \"webhook\"\nurl = \"http://h\"\nurl-file = \"f\"\n", &[(7, "give one of them")]);
    check("name = \"a\"\nkind = \"slack\"\nurl = \"http://h\"\n", &[(3, "needs url-file"), (6, "url is not known")]);
    check("name = \"a\"\nkind = \"pagerduty\"\n", &[(3, "needs routing-key-file")]);
    check("name = \"a\"\nkind = \"command\"\nprogram = \"true\"\n", &[(6, "no whole path")]);
    check("name = \"a\"\nkind = \"command\"\nprogram = \"/a\"\nca-file = \"c\"\n", &[(7, "a command does not")]);
    check(
        "name = \"a\"\nkind = \"webhook\"\nurl = \"http://h\"\nescalations = true\nuntaken-for = \"5m\"\n",
        &[(8, "give one of them")],
    );
    check("name = \"a\"\nkind = \"webhook\"\nurl = \"http://h\"\nuntaken-for = \"5s\"\n", &[(7, "is no time from")]);
    check(
        "name = \"a\"\nkind = \"email\"\naddress = \"a/b\"\nfrom = \"nobody\"\nuser = \"u\"\n",
        &[(3, "needs to"), (3, "go together"), (6, "no mail server"), (7, "channel.from")],
    );
    let good = "name = \"a\"\nkind = \"webhook\"\nurl = \"http://h\"\n";
    check(good, &[]);
    check(&format!("{good}[[channel]]\n{good}"), &[(8, "a is there already")]);
}
