//! A real InfluxDB 2.7: both write APIs, Flux and `InfluxQL`, refusals, and points beyond what a bucket keeps.

use millrace_test_servers::{Store as Server, TOKEN};

use crate::store::{Api, Failed, Left, Store};

/// What Flux says of a measurement: the values, one a line.
fn by_flux(server: &Server, measurement: &str) -> Vec<String> {
    let query = format!(
        "from(bucket: \"b\") |> range(start: -1h) |> filter(fn: (r) => r._measurement == \"{measurement}\") |> group() \
         |> sort(columns: [\"_value\"]) |> keep(columns: [\"_value\"])"
    );
    let headers =
        format!("Authorization: Token {TOKEN}\r\nContent-Type: application/vnd.flux\r\nAccept: application/csv\r\n");
    let answer = server.post("/api/v2/query?org=o", &headers, &query);
    let rows = answer.lines().filter(|line| line.starts_with(",_result"));
    rows.filter_map(|line| line.rsplit(',').next()).map(str::to_owned).collect()
}

/// What `InfluxQL` says of it, added up.
fn by_influxql(server: &Server, measurement: &str) -> Option<f64> {
    let asked = format!("GET /query?db=b&q=SELECT+SUM(f)+FROM+{measurement}");
    let answer = server.ask(&asked, &format!("Authorization: Token {TOKEN}\r\n")).expect("it answers");
    let json: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    json["results"][0]["series"][0]["values"][0][1].as_f64()
}

#[test]
#[ignore = "needs an InfluxDB 2.7: `scripts/store.sh influxdb2-build`; `make test` runs it where there is one"]
fn influxdb_2_has_what_both_apis_wrote_and_says_what_it_does_not_take() {
    let server = Server::influxdb2();
    let v2 = Api::V2 { org: "o".to_owned(), bucket: "b".to_owned() };
    let ways = [
        ("crate", server.url(), v2.clone()),
        ("own", format!("{}/", server.url()), Api::V1 { database: "b".to_owned() }),
    ];
    let now = jiff::Timestamp::now().as_millisecond();
    for (name, url, api) in ways {
        let way = Store::new(&url, &api, TOKEN, None).expect("a way");
        way.send(&[]).expect("a write of nothing is one");
        let lines = format!("way_{name},a=x f=1.5 {now}\nway_{name},a=a\\ b\\,c f=2 {now}\n");
        for _ in 0..2 {
            way.send(lines.as_bytes()).expect("taken; what comes twice is there once");
        }
        assert_eq!(by_flux(&server, &format!("way_{name}")), ["1.5", "2"]);
        assert_eq!(by_influxql(&server, &format!("way_{name}")), Some(3.5));
    }
    let way = Store::new(&server.url(), &v2, "another", None).expect("a way");
    let failed = way.send(&[]).expect_err("nobody knows the token");
    assert!(matches!(&failed, Failed::Away { why, .. } if why.contains("401")), "{failed}");
    let nowhere = Api::V2 { org: "o".to_owned(), bucket: "nowhere".to_owned() };
    let failed =
        Store::new(&server.url(), &nowhere, TOKEN, None).expect("a way").send(&[]).expect_err("no such bucket");
    assert!(matches!(&failed, Failed::Away { why, .. } if why.contains("404")), "{failed}");
}

#[test]
#[ignore = "needs an InfluxDB 2.7: `scripts/store.sh influxdb2-build`; `make test` runs it where there is one"]
fn what_influxdb_2_does_not_keep_any_more_is_late_and_what_it_cannot_read_is_bad() {
    let server = Server::influxdb2();
    let api = Api::V2 { org: "o".to_owned(), bucket: "b".to_owned() };
    let way = Store::new(&server.url(), &api, TOKEN, None).expect("a way");
    let now = jiff::Timestamp::now().as_millisecond();
    let line = |at: usize| {
        // The bucket keeps an hour; every third line is three hours old.
        let back = if at.is_multiple_of(3) { 3 * 3_600_000 } else { 0 };
        format!("kept,a={at} f={at} {}\n", now - back)
    };
    let lines: Vec<String> = (0..300).map(line).collect();
    let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
    let mut left = Left::default();
    way.deliver(&lines, &mut left).expect("it is there");
    assert_eq!(left, Left { bad: Vec::new(), late: 100 });
    assert_eq!(by_flux(&server, "kept").len(), 200, "the others are there");

    let text = format!("kept,a=1 f=\"text\" {}\n", now + 1);
    let good = format!("kept,a=new f=1 {now}\n");
    let mut left = Left::default();
    way.deliver(&[good.as_bytes(), text.as_bytes(), good.as_bytes()], &mut left).expect("it is there");
    assert_eq!((left.late, left.bad.len(), left.bad[0].0), (0, 1, 1), "{left:?}");
    assert!(left.bad[0].1.contains("type conflict"), "{left:?}");
    assert_eq!(by_flux(&server, "kept").len(), 201);
}
