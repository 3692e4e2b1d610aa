//! JSON against its schema: the words of JSON Schema that our schemas use, and no others; an unknown one fails, so that none is
//! passed over.

use serde_json::Value;

/// What breaks the schema, each with its path.
pub(super) fn broken(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, schema, value, "$", &mut found);
    found
}

fn check(root: &Value, schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    let Some(words) = schema.as_object() else { return };
    for (word, says) in words {
        match word.as_str() {
            "$schema" | "title" | "description" | "$defs" | "format" | "default" => {}
            "$ref" => {
                let name = says.as_str().and_then(|name| name.strip_prefix('#')).expect("a place in the same schema");
                check(root, root.pointer(name).expect("it is there"), value, path, found);
            }
            "type" => {
                let types = says.as_array().cloned().unwrap_or_else(|| vec![says.clone()]);
                if !types.iter().any(|one| is_of(one.as_str().expect("a type"), value)) {
                    found.push(format!("{path}: {value} is no {says}"));
                }
            }
            "properties" => {
                for (name, part) in says.as_object().expect("properties") {
                    if let Some(value) = value.get(name) {
                        check(root, part, value, &format!("{path}.{name}"), found);
                    }
                }
                let unknown = value.as_object().into_iter().flatten().filter(|(name, _)| says.get(name).is_none());
                found.extend(unknown.map(|(name, _)| format!("{path}.{name} is not in the schema")));
            }
            "required" => {
                let missing = says
                    .as_array()
                    .expect("names")
                    .iter()
                    .filter(|name| value.get(name.as_str().expect("a name")).is_none());
                found.extend(missing.map(|name| format!("{path} has no {name}")));
            }
            "items" => {
                for (at, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, says, item, &format!("{path}[{at}]"), found);
                }
            }
            "enum" => {
                if !says.as_array().expect("values").contains(value) {
                    found.push(format!("{path}: {value} is none of {says}"));
                }
            }
            "const" => {
                if says != value {
                    found.push(format!("{path}: {value} is not {says}"));
                }
            }
            "anyOf" | "oneOf" => {
                let fits = |part: &&Value| {
                    let mut within = Vec::new();
                    check(root, part, value, path, &mut within);
                    within.is_empty()
                };
                if !says.as_array().expect("parts").iter().any(|part| fits(&part)) {
                    found.push(format!("{path}: {value} fits no part of {word}"));
                }
            }
            "minimum" => {
                if value.as_f64().is_some_and(|number| number < says.as_f64().expect("a number")) {
                    found.push(format!("{path}: {value} is below {says}"));
                }
            }
            "pattern" => assert_eq!(says, "^[0-9a-f]{32}$", "the one pattern that is known here"),
            other => panic!("the schema has a word that this test does not know: {other}"),
        }
    }
}

fn is_of(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("no type of JSON: {other}"),
    }
}
