//! The roster's file: what is written is read again, what people wrote stays, and what is wrong is told with its line.

use std::os::unix::fs::PermissionsExt as _;

use millrace_schemas::signing::Signer;

use super::*;

const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

fn agent(seed: u8, about: &[&str]) -> Entry {
    Entry {
        public: Signer::from_seed(&[seed; 32]).public(),
        roles: [Role::Agent].into(),
        hosts: ["h1".parse().expect("legal")].into(),
        names: BTreeSet::new(),
        about: about.iter().map(|text| text.parse().expect("legal")).collect(),
        revoked: None,
    }
}

#[test]
fn what_is_enrolled_is_read_again_and_what_people_wrote_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("roster.toml");
    let one = agent(1, &["shop/db1", "bank/*"]);
    let id = enrol(&file, &one, NOW).expect("made");
    let written = fs::read_to_string(&file).expect("there");
    fs::write(&file, format!("# ours\n{written}note = \"rack 7\"\n")).expect("ours");
    let process = Entry {
        roles: [Role::Process, Role::Execute].into(),
        hosts: BTreeSet::new(),
        names: ["p1".to_owned()].into(),
        ..agent(2, &["*"])
    };
    let second = enrol(&file, &process, NOW).expect("added");
    let roster = read(&file).expect("right");
    assert_eq!(roster.since, Some(NOW));
    assert_eq!(roster.entry(&id), Some(&one));
    assert_eq!(roster.entry(&second), Some(&process));
    let text = fs::read_to_string(&file).expect("there");
    assert!(text.starts_with("# ours\n") && text.contains("note = \"rack 7\"\n"), "{text}");
    let again = enrol(&file, &one, NOW).expect_err("there").to_string();
    assert!(again.contains("already"), "{again}");
    assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 1, "nothing else is left");
}

#[test]
fn a_key_is_revoked_from_a_time_on_and_stays_in_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("roster.toml");
    let (one, two) = (agent(1, &["*"]), agent(2, &["*"]));
    let id = enrol(&file, &one, NOW).expect("made");
    let other = enrol(&file, &two, NOW).expect("added");
    revoke(&file, id.as_str(), NOW).expect("revoked");
    let roster = read(&file).expect("right");
    assert_eq!(roster.entry(&id).expect("stays").revoked, Some(NOW));
    assert_eq!(roster.entry(&other).expect("untouched").revoked, None);
    assert!(revoke(&file, id.as_str(), NOW).expect_err("twice").to_string().contains("already"));
    assert!(revoke(&file, "0000", NOW).expect_err("nobody's").to_string().contains("millrace key list"));
}

#[test]
fn every_problem_is_told_with_its_line() {
    let public = agent(1, &["*"]).public;
    let id = public.id();
    let check = |text: &str, expected: &[(usize, &str)]| {
        let problems = parse(text).err().unwrap_or_default();
        assert_eq!(problems.len(), expected.len(), "{text}\n{problems:#?}");
        for (problem, (line, what)) in problems.iter().zip(expected) {
            assert!(problem.line == *line && problem.what.contains(what), "{what} in line {line}\n{problem:?}\n{text}");
        }
    };
    let right = format!(
        "[[key]]\nid = \"{id}\"\npublic = \"{public}\"\nroles = [\"agent\"]\nhosts = [\"h1\"]\nabout = [\"*\"]\n"
    );
    check(&right, &[]);
    check("", &[]);
    check("since = \"yesterday\"\n", &[(1, "is not a UTC time")]);
    check(&right.replace("\"agent\"", "\"boss\""), &[(4, "'boss' is not a role")]);
    check(&right.replace("about", "abuot"), &[(1, "about nothing"), (6, "about is probably meant")][1..]);
    check(&right.replace("[\"*\"]", "\"*\""), &[(6, "a list of texts is expected")]);
    check(&right.replace(id.as_str(), "0123456789abcdef"), &[(2, "the id of this public key is")]);
    check(&right.replace("\"h1\"", "\"H 1\""), &[(5, "is not a host id")]);
    check(&right.replace("hosts = [\"h1\"]", "hosts = []"), &[(1, "names the hosts")]);
    check(&format!("{right}revoked = \"soon\"\n"), &[(7, "is not a UTC time")]);
    check(&format!("{right}{right}"), &[(7, "is in the roster already")]);
    check("[[kye]]\n", &[(1, "key is probably meant")]);
}

#[test]
fn the_example_is_right() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/trust/roster.toml");
    let roster = parse(&fs::read_to_string(file).expect("there")).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let roles: BTreeSet<Role> = roster.entries().flat_map(|(_, entry)| entry.roles.clone()).collect();
    assert_eq!(roles, Role::ALL.into());
    assert!(roster.entries().any(|(_, entry)| entry.revoked.is_some()));
}

#[test]
fn one_that_others_can_write_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("roster.toml");
    assert!(read(&file).is_err(), "none yet");
    enrol(&file, &agent(1, &["*"]), NOW).expect("made");
    for mode in [0o664, 0o646] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("ours");
        assert!(read(&file).expect_err("too open").to_string().contains("chmod go-w"), "{mode:o}");
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).expect("ours");
    read(&file).expect("everybody may read it");
}
