//! What expressions give, over a small model of types: `check(expression, expected)`.

use fhirpath::{Context, ElementType, EvaluationError, Item, Limits, Program, Reason, TypeModel};
use proptest::prelude::*;
use serde_json::{Value, json};

struct Model;

const ELEMENTS: &[(&str, &str, &str)] = &[
    ("Patient", "id", "id"),
    ("Patient", "active", "boolean"),
    ("Patient", "name", "HumanName"),
    ("Patient", "gender", "code"),
    ("Patient", "birthDate", "date"),
    ("Patient", "multipleBirth[x]", "boolean integer"),
    ("Patient", "contained", "Resource"),
    ("Patient", "link", "Patient.link"),
    ("Patient", "extension", "Extension"),
    ("Patient", "modifierExtension", "Extension"),
    ("Patient.link", "other", "Reference"),
    ("HumanName", "family", "string"),
    ("HumanName", "given", "string"),
    ("Extension", "url", "uri"),
    (
        "Extension",
        "value[x]",
        "string Quantity decimal integer64 time instant",
    ),
    ("Reference", "reference", "string"),
    ("string", "extension", "Extension"),
    ("date", "extension", "Extension"),
    ("Quantity", "value", "decimal"),
    ("Quantity", "unit", "string"),
    ("Group", "id", "id"),
    ("Bundle", "entry", "Bundle.entry"),
    ("Bundle.entry", "resource", "Resource"),
];

impl TypeModel for Model {
    fn element(&self, type_name: &str, name: &str) -> Option<ElementType<'_>> {
        ELEMENTS
            .iter()
            .find(|(t, n, _)| *t == type_name && n.trim_end_matches("[x]") == name)
            .map(|(_, n, types)| ElementType {
                types: types.split(' ').collect(),
                choice: n.ends_with("[x]"),
                array: false,
            })
    }

    fn is_a(&self, type_name: &str, ancestor: &str) -> bool {
        type_name == ancestor
            || (type_name, ancestor) == ("code", "string")
            || (ancestor == "Resource" && ["Patient", "Group", "Bundle"].contains(&type_name))
    }

    fn is_type(&self, name: &str) -> bool {
        [
            "Resource", "code", "boolean", "integer", "uri", "id", "decimal",
        ]
        .contains(&name)
            || ELEMENTS.iter().any(|(t, ..)| *t == name)
    }

    fn base(&self, type_name: &str) -> Option<&str> {
        (type_name == "code").then_some("string")
    }
}

fn patient() -> Value {
    serde_json::from_str(
        r##"{
            "resourceType": "Patient", "id": "p", "active": true,
            "contained": [{"resourceType": "Group", "id": "g"}],
            "name": [{"family": "Ngo", "given": ["Ada", null, "Bo"], "_given": [null, {"extension": [{"url": "u", "valueString": "masked"}]}, null]},
                     {"family": "ngo", "given": ["Cy"]}],
            "gender": "female", "birthDate": "1970-03",
            "_birthDate": {"extension": [{"url": "time", "valueString": "late"}]},
            "multipleBirthInteger": 2,
            "link": [{"other": {"reference": "#g"}}, {"other": {"reference": "#"}}, {"other": {"reference": "Group/far"}}, {"other": {}}],
            "extension": [
                {"url": "weight", "valueQuantity": {"value": 71.50, "unit": "kg", "system": "http://unitsofmeasure.org", "code": "kg"}},
                {"url": "age", "valueQuantity": {"value": 3, "system": "http://unitsofmeasure.org", "code": "a"}},
                {"url": "local", "valueQuantity": {"value": 3, "unit": "bags"}},
                {"url": "exact", "valueDecimal": 0.10000000000000000000000000001},
                {"url": "long", "valueInteger64": "9007199254740993"}
            ]
        }"##,
    )
    .expect("JSON")
}

fn show(item: &Item) -> String {
    match item.system() {
        Some(value) => value.text().into_owned(),
        None => format!("<{}>", item.type_info().name),
    }
}

fn evaluate(expression: &str, resource: &Value) -> Result<Vec<String>, EvaluationError> {
    let program = Program::parse(expression).map_err(|error| EvaluationError {
        reason: Reason::Invalid,
        message: error.message,
        position: error.position,
    })?;
    let context = Context::new(resource, &Model)
        .now("2026-01-31T08:30:00.000+01:00")
        .text_variable("who", "me");
    let found = program.evaluate(&context)?;
    Ok(found.iter().map(show).collect())
}

#[test]
fn gives() {
    let resource = patient();
    let mut wrong = Vec::new();
    for (expression, expect) in [
        // Paths, choices, primitives with extensions only.
        ("name.family", "Ngo, ngo"),
        ("Patient.name.given", "Ada, <string>, Bo, Cy"),
        ("name.given.extension.value", "masked"),
        ("birthDate.extension('time').value", "late"),
        ("multipleBirth", "2"),
        ("multipleBirthInteger + 1", "3"),
        ("multipleBirth.ofType(boolean)", ""),
        ("contained.ofType(Group).id", "g"),
        ("nothing.at.all", ""),
        ("active.value and gender.value = 'female'", "true"),
        ("Group.id", ""),
        ("name[1].family", "ngo"),
        ("name[-1]", ""),
        ("children().count()", "17"),
        ("descendants().ofType(Quantity).count()", "3"),
        (
            "name.given[1].hasValue() | name.given[0].hasValue()",
            "false, true",
        ),
        ("name.given[1].length()", ""),
        ("gender.getValue() is System.String", "true"),
        // Equality and sets.
        ("name[0] = name[0]", "true"),
        ("name[0] = name[1]", "false"),
        ("'a  b' ~ 'A B'", "true"),
        ("name.family ~ ('NGO' | 'x')", "false"),
        ("name.family.distinct().count()", "2"),
        ("(1 | 2).combine(2).isDistinct()", "false"),
        ("1.0 | 1 | 1L", "1.0"),
        ("5L + 1", "6"),
        ("(1 | 2 | 3).exclude(2).intersect(3 | 4)", "3"),
        ("1 in {} | {} contains 1", "false"),
        (
            "(1 | 2).subsetOf(1 | 2 | 3) and (1 | 2 | 3).supersetOf(1)",
            "true",
        ),
        // Arithmetic.
        ("0.1 + 0.2", "0.3"),
        (
            "extension('exact').value + 0",
            "0.10000000000000000000000000001",
        ),
        ("extension('long').value + 0", "9007199254740993"),
        ("2147483647 + 1", ""),
        ("7 div 2 | 7 mod 2 | -7 div 2", "3, 1, -3"),
        ("1 / 3", "0.3333333333333333333333333333333333"),
        (
            "2.power(10) | 2.power(0.5).round(3) | 16.log(2)",
            "1024, 1.414, 4",
        ),
        (
            "1.5.round() | (-1.5).floor() | 1.2.ceiling() | (-1.9).truncate()",
            "2, -2, -1",
        ),
        ("'a' & {} & 'b'", "ab"),
        ("{} + 'b'", ""),
        ("-(3 'mg')", "-3 'mg'"),
        // Quantities.
        ("extension('weight').value > 71000 'g'", "true"),
        ("extension('weight').value * 2", "143.00 'kg'"),
        ("extension('age').value = 3 years", "true"),
        ("extension('local').value = 3", "false"),
        ("extension('weight').value.toQuantity('g')", "71500 'g'"),
        ("3 'kg' = 3 's'", "false"),
        ("1 year = 1 'a'", ""),
        ("1 year ~ 1 'a'", "true"),
        ("(1 'm' + 1 'cm') | (3 'm' - 1 'm')", "101 'cm', 2 'm'"),
        // Dates.
        ("birthDate < @1970-04-01", "true"),
        ("birthDate < @1970-03-15", ""),
        ("birthDate + 1 month", "1970-04"),
        ("@2024-01-31 + 1 month", "2024-02-29"),
        (
            "today() | timeOfDay() | now()",
            "2026-01-31, 08:30:00.000, 2026-01-31T08:30:00.000+01:00",
        ),
        (
            "birthDate.yearOf() | birthDate.monthOf() | birthDate.dayOf()",
            "1970, 3",
        ),
        ("@2026-01-31T08:30:00+05:30.timezoneOffsetOf()", "5.5"),
        (
            "birthDate.lowBoundary() | birthDate.highBoundary()",
            "1970-03-01, 1970-03-31",
        ),
        (
            "@2014-01-01T08.highBoundary()",
            "2014-01-01T08:59:59.999-12:00",
        ),
        (
            "@2014-01-01T08:00:00.5.highBoundary()",
            "2014-01-01T08:00:00.599-12:00",
        ),
        (
            "'2026-01-31T08:30'.toDate() | @2026.toDateTime() | '8:30'.toTime()",
            "2026-01-31, 2026",
        ),
        // Strings.
        (
            "'héllo'.length() | 'héllo'.indexOf('l') | 'héllo'.lastIndexOf('l')",
            "5, 2, 3",
        ),
        ("'héllo'.substring(1, 2) | 'abc'.substring(3)", "él"),
        ("'a,b'.split(',') | ('x' | 'y').join('-')", "a, b, x-y"),
        (
            "'aXbX'.replace('X', 'YY') | 'ab12'.replaceMatches('([a-z])(\\\\d)', '$2$1')",
            "aYYbYY, a1b2",
        ),
        (
            "'A\\nb'.matches('a.b', 'i') | 'ab'.matchesFull('a')",
            "true, false",
        ),
        (
            "'<a>'.escape('html').unescape('html') | 'x\\ny'.escape('json').length()",
            "<a>, 4",
        ),
        (
            "'ü'.encode('hex') | 'ü'.encode('base64').decode('base64')",
            "c3bc, ü",
        ),
        ("'c3'.decode('hex')", ""),
        // Functions over items.
        ("name.where(given.exists($this = 'Cy')).family", "ngo"),
        ("name.select($index)", "0, 1"),
        (
            "name.family.sort() | (3 | 1 | 2).sort(-$this)",
            "Ngo, ngo, 3, 2, 1",
        ),
        ("(1 | 2 | 3).aggregate($total + $this, 0)", "6"),
        (
            "(1 | 2).repeat(iif($this < 5, $this + 2, {}))",
            "3, 4, 5, 6",
        ),
        (
            "name.all(family.exists()) and name.given.exists().not() = false",
            "true",
        ),
        ("iif(name.empty(), 1 div 0, 'some')", "some"),
        ("coalesce({}, name.suffix, 'none')", "none"),
        // Types.
        (
            "gender is string | gender is code | gender is System.String",
            "true, false",
        ),
        ("gender.as(string) | gender.ofType(code)", "female"),
        (
            "gender.type().name | gender.type().baseType | 1.type().namespace",
            "code, FHIR.string, System",
        ),
        (
            "1 is Integer and 1L is Long and 1.0 is Decimal and @T08 is Time and 1 day is Quantity",
            "true",
        ),
        // Variables.
        (
            "%who & %resource.id & %context.id & %rootResource.id",
            "meppp",
        ),
        (
            "defineVariable('f', name.family.first()).name.where(family = %f).given.last()",
            "Bo",
        ),
        (
            "%`ext-x` & %'vs-y'",
            "http://hl7.org/fhir/StructureDefinition/xhttp://hl7.org/fhir/ValueSet/y",
        ),
        // References.
        ("link.other.resolve().type().name", "Group, Patient"),
        ("link[0].other.reference.resolve().id", "g"),
        (
            "conformsTo('http://hl7.org/fhir/StructureDefinition/Patient')",
            "true",
        ),
    ] {
        let found = evaluate(expression, &resource).map(|found| found.join(", "));
        let found = found.unwrap_or_else(|error| error.to_string());
        if found != expect {
            wrong.push(format!("{expression}: {found:?}, not {expect:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn refuses() {
    let resource = patient();
    let long = format!("'{}'", "x".repeat(1_000));
    let doubled =
        "defineVariable('a', 'xxxxxxxxxxxxxxxx').select(%a".to_owned() + &" & %a".repeat(100) + ")";
    let grown = format!("{long}.replace('x', {long}).replace('x', {long})");
    let product = "descendants().select(%resource.descendants()).select(%resource.descendants()).select(%resource.descendants())";
    for (expression, reason) in [
        ("name.single()", Reason::Invalid),
        ("name.family + 'x'", Reason::Invalid),
        ("1 + 'x'", Reason::Invalid),
        ("name < 1", Reason::Invalid),
        ("%missing", Reason::Invalid),
        ("defineVariable('context')", Reason::Invalid),
        ("'x'.matches('(?=a)')", Reason::Invalid),
        ("gender.as(Missing)", Reason::Invalid),
        ("name.length()", Reason::Invalid),
        ("descendants().sort()", Reason::Invalid),
        ("(-(descendants())).sort()", Reason::Invalid),
        ("-(descendants()).sort()", Reason::Invalid),
        ("@2026 + 1 'a'", Reason::Invalid),
        ("memberOf('http://x')", Reason::Unsupported),
        ("%terminologies.expand('http://x')", Reason::Unsupported),
        ("conformsTo('http://x')", Reason::Unsupported),
        ("slice('a', 'b')", Reason::Unsupported),
        // Hostile ones end by a limit.
        ("1.repeat($this + 1)", Reason::Limit),
        ("'x'.repeat($this & $this)", Reason::Limit),
        ("'a'.repeatAll($this)", Reason::Limit),
        (product, Reason::Limit),
        (&grown, Reason::Limit),
        ("2.0.repeat($this * $this)", Reason::Limit),
        ("'x'.matches('(((a{1,100}){1,100}){1,100})')", Reason::Limit),
    ] {
        let error = evaluate(expression, &resource).expect_err(expression);
        assert_eq!(error.reason, reason, "{expression}: {error}");
    }
    assert!(evaluate(&doubled, &resource).is_ok());
}

/// A year is neither before nor after its months, so these have no order; they are all given back.
#[test]
fn sorts_what_has_an_order_in_part() {
    let dates: Vec<String> = (0..120)
        .map(|n| match n % 3 {
            0 => format!("@{}", 2020 + n * 7 % 5),
            1 => format!("@{}-{:02}", 2020 + n * 3 % 5, 1 + n * 5 % 12),
            _ => format!("@{}-{:02}-{:02}", 2020 + n % 5, 1 + n * 7 % 12, 1 + n % 28),
        })
        .collect();
    let list = format!("({})", dates.join(").combine("));
    let sorted = evaluate(&format!("{list}.sort()"), &patient()).unwrap();
    assert_eq!(sorted.len(), dates.len());
}

#[test]
fn strict_checks() {
    for (expression, expect) in [
        ("Patient.name.family", None),
        ("name.given.first().length()", None),
        ("contained.anything.length()", None),
        ("name.famly", Some("HumanName has no element famly")),
        (
            "Group.id",
            Some("the path starts at Group, which is not what it runs on"),
        ),
        (
            "multipleBirthInteger",
            Some("Patient has no element multipleBirthInteger"),
        ),
        (
            "children().first()",
            Some("what comes first among children or descendants is not defined"),
        ),
        ("active.length()", Some("length() takes a string")),
        ("iif('x', 1, 2)", Some("iif() takes a boolean")),
        ("name.missing()", Some("there is no function missing()")),
        ("name.where()", Some("where() takes 1 arguments, not 0")),
        (
            "99999999999",
            Some("not a valid Integer (a Long ends in L)"),
        ),
        ("@2026-13", Some("not a valid date")),
    ] {
        let error = Program::compile(expression, "Patient", &Model).err();
        assert_eq!(error.map(|e| e.message).as_deref(), expect, "{expression}");
    }
}

#[test]
fn results_as_fhir() {
    let resource = patient();
    for (expression, type_name, value) in [
        ("1", "integer", json!(1)),
        ("1L", "integer64", json!("1")),
        ("1.50", "decimal", serde_json::from_str("1.50").unwrap()),
        ("'a'", "string", json!("a")),
        ("@2026", "date", json!("2026")),
        (
            "4 'mg'",
            "Quantity",
            json!({"value": 4, "system": "http://unitsofmeasure.org", "code": "mg"}),
        ),
        ("gender", "code", json!("female")),
        ("1.type()", "string", json!("System.Integer")),
    ] {
        let program = Program::parse(expression).unwrap();
        let context = Context::new(&resource, &Model);
        let found = program.evaluate(&context).unwrap();
        let (name, json) = found[0].to_fhir().unwrap();
        assert_eq!((name, json.as_ref()), (type_name, &value), "{expression}");
    }
}

#[test]
fn limits_are_the_callers() {
    let resource = patient();
    let program = Program::parse("name.given.select($this)").unwrap();
    for (limits, fits) in [
        (Limits::default(), true),
        (
            Limits {
                steps: 5,
                ..Limits::default()
            },
            false,
        ),
        (
            Limits {
                items: 2,
                ..Limits::default()
            },
            false,
        ),
    ] {
        let context = Context::new(&resource, &Model).limits(limits);
        assert_eq!(program.evaluate(&context).is_ok(), fits);
    }
}

/// Expressions that are likely to be well-formed.
fn expressions() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "name",
        "given",
        "birthDate",
        "extension.value",
        "1",
        "1.50",
        "'a'",
        "true",
        "{}",
        "$this",
        "$index",
        "@2026-01",
        "@T08:30",
        "2 days",
        "3 'mg'",
        "%resource",
        "descendants()",
        "gender",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(5, 24, 3, |inner| {
        let operators = vec![
            "+", "-", "*", "/", "div", "mod", "&", "|", "=", "~", "!=", "<", ">=", "and", "or",
            "xor", "implies", "in", "contains",
        ];
        let functions = vec![
            "where",
            "select",
            "exists",
            "all",
            "combine",
            "union",
            "take",
            "sort",
            "trace",
            "repeat",
            "aggregate",
            "indexOf",
            "split",
            "log",
            "power",
            "lowBoundary",
            "iif",
            "defineVariable",
            "join",
            "matches",
            "resolve",
            "type",
            "toQuantity",
            "toDate",
            "distinct",
            "not",
            "first",
        ];
        prop_oneof![
            (
                inner.clone(),
                prop::sample::select(operators),
                inner.clone()
            )
                .prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            (
                inner.clone(),
                prop::sample::select(functions),
                prop::option::of(inner.clone())
            )
                .prop_map(|(of, name, argument)| format!(
                    "{of}.{name}({})",
                    argument.unwrap_or_default()
                )),
            (
                inner.clone(),
                prop::sample::select(vec!["is string", "as Quantity", "is System.Date"])
            )
                .prop_map(|(of, test)| format!("({of} {test})")),
            inner.prop_map(|of| format!("-({of})")),
        ]
    })
}

proptest! {
    #[test]
    fn never_panics(expression in expressions()) {
        let resource = patient();
        let _ = evaluate(&expression, &resource);
        let _ = Program::compile(&expression, "Patient", &Model);
    }

    #[test]
    fn union_commutes(a in prop::collection::vec(0..6_i32, 0..6), b in prop::collection::vec(0..6_i32, 0..6)) {
        let list = |items: &[i32]| match items {
            [] => "{}".to_owned(),
            items => format!("({})", items.iter().map(i32::to_string).collect::<Vec<_>>().join(" | ")),
        };
        let (a, b) = (list(&a), list(&b));
        let resource = patient();
        let mut one = evaluate(&format!("{a} | {b}"), &resource).unwrap();
        let mut other = evaluate(&format!("{b} | {a}"), &resource).unwrap();
        one.sort();
        other.sort();
        prop_assert_eq!(one, other);
        prop_assert_eq!(evaluate(&format!("({a} | {b}).isDistinct()"), &resource).unwrap(), ["true"]);
    }

    #[test]
    fn sums_and_differences_undo_each_other(a in -1_000_000_i64..1_000_000, b in -1_000_000_i64..1_000_000, places in 0..6_u32) {
        let unit = 10_i64.pow(places);
        let decimal = |n: i64| format!("({}{}.{:0width$})", if n < 0 { "-" } else { "" }, n.abs() / unit, n.abs() % unit, width = places as usize + 1);
        let (a, b) = (decimal(a), decimal(b));
        prop_assert_eq!(evaluate(&format!("{a} + {b} - {b} = {a}"), &patient()).unwrap(), ["true"]);
    }

    #[test]
    fn days_added_are_taken_off(days in 0..40_000_i32) {
        let expression = format!("(@1990-05-17 + {days} days) - {days} days = @1990-05-17");
        prop_assert_eq!(evaluate(&expression, &patient()).unwrap(), ["true"]);
    }
}

/// What the parser lets through fits on the stack of a small thread.
#[test]
fn the_highest_trees_run() {
    let nested = |times: usize| "select(".repeat(times) + "$this" + &")".repeat(times);
    let expressions = [
        "1".to_owned() + &" + 1".repeat(150),
        "name".to_owned() + &".first()".repeat(150),
        nested(60),
        "(".repeat(60) + "1" + &")".repeat(60),
        "-".repeat(60) + "1",
        "1 + (".repeat(30) + "1" + &")".repeat(30),
    ];
    let run = move || {
        for expression in &expressions {
            assert!(evaluate(expression, &patient()).is_ok(), "{expression}");
        }
    };
    let thread = std::thread::Builder::new().stack_size(2 * 1024 * 1024);
    thread
        .spawn(run)
        .expect("a thread")
        .join()
        .expect("it ends");
}
