//! Values that an expression cannot compute while the query runs.

use crate::{CONTINUOUS, MICRO_BATCH, Place, ended, says};
use lotic::{ErrorKind, Trigger};

#[test]
fn an_expression_that_fails_is_named_and_a_corrected_query_goes_on() {
    for (expression, corrected, parts) in [
        ("100 / idade", "100 / nullif(idade, 0)", ["idade", "division by zero"]),
        ("100 % idade", "100 % nullif(idade, 0)", ["idade", "division by zero"]),
        ("CAST(nome AS INT)", "try_cast(nome AS INT)", ["nome", "'bia'"]),
        ("CAST(idade + 1000 AS TINYINT)", "try_cast(idade + 1000 AS TINYINT)", ["idade", "Int8"]),
    ] {
        for trigger in [CONTINUOUS, MICRO_BATCH, Trigger::AvailableNow] {
            let place = Place::new();
            let input = place.stream("csv");
            let select = |text: &str| input.select_expr(&["nome", &format!("{text} AS x")]).unwrap();
            place.put("a.csv", "7,-990\n");
            place.run(&select(corrected)).unwrap();
            let before = place.output();
            place.put("b.csv", "bia,0\n");
            let error = ended(&place.start(&select(expression), trigger).unwrap()).unwrap_err();
            says(&error, ErrorKind::User, &[&["could not evaluate"], parts.as_slice()].concat());
            assert_eq!(place.output(), before, "{expression} {trigger}");
            place.run(&select(corrected)).unwrap();
            let output = place.output();
            assert_eq!(output.len(), 2, "{output:?}");
            assert!(output.contains(&"bia,".to_owned()), "{expression}: {output:?}");
        }
    }
}

#[test]
fn a_bounded_query_names_the_expression_too() {
    let place = Place::new();
    place.put("a.csv", "bia,0\n");
    let table = place.session.read().schema(crate::SCHEMA).csv(place.path("in")).unwrap();
    for (expression, part) in [("100 / idade", "division by zero"), ("CAST(nome AS INT)", "'bia'")] {
        let error = table.select_expr(&[expression]).unwrap().collect().unwrap_err();
        says(&error, ErrorKind::User, &[part]);
        let write = table.select_expr(&[&format!("{expression} AS x")]).unwrap();
        let error = write.write().csv(place.path("out")).unwrap_err();
        says(&error, ErrorKind::User, &[part]);
    }
}

#[test]
fn a_sum_that_overflows_is_said_or_null_and_never_a_panic() {
    let place = Place::new();
    place.put("a.csv", "9223372036854775807\n1\n");
    let reader = place.session.read_stream().schema("n BIGINT");
    let input = reader.csv(place.path("in")).unwrap();
    let total = input.select_expr(&["n + n AS x"]).unwrap();
    match place.run(&total) {
        Err(error) => says(&error, ErrorKind::User, &["could not evaluate", "n + n"]),
        Ok(()) => assert_eq!(place.output(), ["-2", "2"]),
    }
}
