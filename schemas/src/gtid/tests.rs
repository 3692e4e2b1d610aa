//! The laws that GTID sets of both flavours keep, and their behaviour at the borders. Arithmetic on single ranges is held to a
//! slow model in `intervals`; here whole sets, texts and JSON are.

use proptest::prelude::*;

use super::*;

const UUIDS: [&str; 2] = ["3e11fa47-71ca-11e1-9e33-c80aa9429562", "4350F323-7565-4e59-8763-4b1b83a0ce0e"];
const TAGS: [&str; 3] = ["", "backup:", "_T2:"];

fn any_mysql() -> impl Strategy<Value = GtidSet> {
    let part = (0_usize..2, 0_usize..3, 1_u64..30, 0_u64..9);
    prop::collection::vec(part, 0..8).prop_map(|parts| {
        let text: Vec<String> = parts
            .into_iter()
            .map(|(uuid, tag, first, more)| format!("{}:{}{first}-{}", UUIDS[uuid], TAGS[tag], first + more))
            .collect();
        GtidSet::parse(Flavour::MySql, &text.join(", ")).unwrap()
    })
}

fn any_mariadb() -> impl Strategy<Value = GtidSet> {
    let position = (0_u32..3, 1_u32..4, 1_u64..30).prop_map(|(domain, server, seq)| format!("{domain}-{server}-{seq}"));
    let range = (0_u32..3, 1_u64..30, 0_u64..9, 1_u32..4)
        .prop_map(|(domain, first, more, server)| format!("{domain}:{first}-{}@{server}-{first}", first + more));
    prop::collection::vec(prop_oneof![3 => position, 1 => range], 0..8)
        .prop_map(|parts| GtidSet::parse(Flavour::MariaDb, &parts.join(" ,\n")).unwrap())
}

/// Three sets of one flavour.
fn three() -> impl Strategy<Value = (GtidSet, GtidSet, GtidSet)> {
    prop_oneof![(any_mysql(), any_mysql(), any_mysql()), (any_mariadb(), any_mariadb(), any_mariadb())]
}

proptest! {
    #[test]
    fn a_set_is_what_its_text_says((a, ..) in three()) {
        prop_assert_eq!(&GtidSet::parse(a.flavour(), &a.to_string()).unwrap(), &a);
        prop_assert_eq!(&a.tagged().parse::<GtidSet>().unwrap(), &a);
        let json = serde_json::to_string(&a).unwrap();
        prop_assert_eq!(&serde_json::from_str::<GtidSet>(&json).unwrap(), &a);
        prop_assert_eq!(a.is_empty(), a.count() == 0);
    }

    #[test]
    fn union_keeps_its_laws((a, b, c) in three()) {
        let or = |x: &GtidSet, y: &GtidSet| x.union(y).unwrap();
        prop_assert_eq!(or(&a, &b), or(&b, &a));
        prop_assert_eq!(or(&or(&a, &b), &c), or(&a, &or(&b, &c)));
        prop_assert_eq!(or(&a, &a), a.clone());
        prop_assert_eq!(or(&a, &GtidSet::empty(a.flavour())), a.clone());
        prop_assert!(a.is_subset(&or(&a, &b)).unwrap());
        prop_assert_eq!(or(&a, &b).is_subset(&c).unwrap(), a.is_subset(&c).unwrap() && b.is_subset(&c).unwrap());
    }

    #[test]
    fn subtract_keeps_its_laws((a, b, c) in three()) {
        let minus = |x: &GtidSet, y: &GtidSet| x.subtract(y).unwrap();
        prop_assert_eq!(minus(&a, &b).is_empty(), a.is_subset(&b).unwrap());
        prop_assert_eq!(minus(&minus(&a, &b), &c), minus(&a, &b.union(&c).unwrap()));
        prop_assert!(minus(&a, &b).is_subset(&a).unwrap());
        prop_assert_eq!(minus(&minus(&a, &b), &b), minus(&a, &b));
        prop_assert_eq!(minus(&a, &b).count() + b.count(), a.union(&b).unwrap().count());
        prop_assert!(minus(&a, &a).is_empty());
    }

    #[test]
    fn any_text_is_read_or_refused_and_never_a_panic(text in "[0-9a-f:,@_ \\-]{0,60}") {
        for flavour in [Flavour::MySql, Flavour::MariaDb] {
            if let Ok(set) = GtidSet::parse(flavour, &text) {
                prop_assert_eq!(GtidSet::parse(flavour, &set.to_string()), Ok(set));
            }
        }
    }

    #[test]
    fn mixed_flavours_are_an_error_in_every_operation(a in any_mysql(), b in any_mariadb()) {
        let mixed = GtidError::Flavours { left: Flavour::MySql, right: Flavour::MariaDb };
        prop_assert_eq!(a.union(&b), Err(mixed.clone()));
        prop_assert_eq!(a.subtract(&b), Err(mixed.clone()));
        prop_assert_eq!(a.is_subset(&b), Err(mixed.clone()));
        prop_assert_eq!(a.extra_to(&b), Err(mixed.clone()));
        prop_assert_eq!(a.diverged_from(&b), Err(mixed));
        prop_assert!(b.union(&a).is_err());
    }
}

#[test]
fn extra_transactions_are_found_in_both_flavours() {
    let check = |flavour, old: &str, new: &str, expected: &str| {
        let (old, new) = (GtidSet::parse(flavour, old).unwrap(), GtidSet::parse(flavour, new).unwrap());
        assert_eq!(old.extra_to(&new).unwrap().to_string(), expected);
    };
    let [a, _] = UUIDS;
    check(Flavour::MySql, &format!("{a}:1-7"), &format!("{a}:1-5,{}:1-9", UUIDS[1]), &format!("{a}:6-7"));
    check(Flavour::MariaDb, "0-1-107", "0-1-105,0-2-120", "0:106-107@1-107");
    check(Flavour::MariaDb, "0-1-107", "0-2-105", "0-1-107");
    check(Flavour::MariaDb, "0-1-105", "0-1-105,0-2-120", "");
}

#[test]
fn divergence_shows_in_mariadb_positions() {
    let check = |left: &str, right: &str, expected| {
        let set = |text| GtidSet::parse(Flavour::MariaDb, text).unwrap();
        assert_eq!(set(left).diverged_from(&set(right)), Ok(expected), "{left} {right}");
    };
    check("0-1-106", "0-2-106", true);
    check("0-1-106", "0-1-106", false);
    check("0-1-106", "0-2-107", false);
}

#[test]
fn a_text_or_a_set_beyond_the_limits_is_refused() {
    let long = " ".repeat(TEXT_BYTES_MAX + 1);
    assert_eq!(
        GtidSet::parse(Flavour::MySql, &long),
        Err(GtidError::TooLong { bytes: TEXT_BYTES_MAX + 1, max: TEXT_BYTES_MAX })
    );
    let holes: Vec<String> = (0..=RANGES_MAX).map(|index| (index * 2 + 1).to_string()).collect();
    let holes = format!(":{}", holes.join(":"));
    let ranges = RANGES_MAX + 1;
    let expected = Err(GtidError::TooManyRanges { ranges, max: RANGES_MAX });
    assert_eq!(GtidSet::parse(Flavour::MySql, &format!("{}{holes}", UUIDS[0])), expected);
    assert_eq!(GtidSet::parse(Flavour::MariaDb, &format!("0{holes}")), expected);
}

#[test]
fn a_text_without_flavour_is_refused() {
    for text in ["", "0-1-105", "postgres:1", "MYSQL:"] {
        assert!(matches!(text.parse::<GtidSet>(), Err(GtidError::NoFlavour(_))), "{text}");
    }
    assert!(serde_json::from_str::<GtidSet>("7").is_err());
}
