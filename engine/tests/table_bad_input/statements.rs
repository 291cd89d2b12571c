//! SQL and expressions that are wrong: the words, and the line and column.

use crate::{Place, says};
use lotic::{ErrorKind, Location, Session};

const TABLE: &str = "CREATE EXTERNAL TABLE nomes (nome STRING, idade INT) STORED AS CSV LOCATION '";

fn session(place: &Place) -> &Session {
    place.put("a.csv", "ana,30\n");
    place.session.execute(&format!("{TABLE}{}'", place.path("in").display())).unwrap();
    &place.session
}

#[test]
fn a_wrong_statement_says_where() {
    let place = Place::new();
    let session = session(&place);
    let cases: &[(&str, Option<(u64, u64)>, &[&str])] = &[
        ("SELECT *\nFROM nome", Some((2, 6)), &["`nome`", "did you mean `nomes`"]),
        ("SELECT nome,\n  idad FROM nomes", Some((2, 3)), &["idad", "idade"]),
        ("SELECT n.idad FROM nomes n", Some((1, 8)), &["idad", "idade"]),
        ("SELECT uper(nome) FROM nomes", None, &["'uper'", "Did you mean 'upper'"]),
        ("SELECT nome FROM nomes\nWHERE idade >", None, &["expression"]),
        ("SELEC nome FROM nomes", Some((1, 1)), &["SELEC"]),
        ("SELECT nome FROM nomes WHERE nome", None, &["Utf8", "non-boolean"]),
        ("SELECT idade + true FROM nomes", None, &["Int32", "Boolean"]),
        ("SELECT sum(nome, idade) FROM nomes", None, &["No function matches", "sum(Utf8, Int32)"]),
        ("SELECT nome, count(*) FROM nomes", None, &["nome", "GROUP BY"]),
        ("SELECT 'ana", None, &["Unterminated string"]),
        ("CREATE EXTERNAL TABLE x (a INTT) STORED AS CSV LOCATION '/x'", Some((1, 26)), &["INTT", "`INT`"]),
        ("CREATE EXTERNAL TABLE x (a INT) STORED AS CVS LOCATION '/x'", None, &["`CVS`", "`csv`"]),
        ("CREATE EXTERNAL TABLE x (a INT) STORED AS CSV LOCATION '/' OPTIONS (headr true)", None, &["headr"]),
        ("INSERT INTO nomes SELECT nome FROM nomes", None, &["not as many columns", "INSERT INTO t (a, b)"]),
        ("DROP TABLE nada", None, &["nada"]),
        ("UPDATE nomes SET idade = 1", None, &["Update is not supported"]),
    ];
    let mut wrong = Vec::new();
    for (sql, place, parts) in cases {
        let error = match session.execute(sql) {
            Ok(_) => {
                wrong.push(format!("{sql}: no error"));
                continue;
            }
            Err(error) => error,
        };
        let said = error.to_string();
        let missing = parts.iter().any(|part| !said.contains(part));
        let expected = place.map(|(line, column)| Location { line, column });
        if missing || error.kind() != ErrorKind::User || said.contains("DataFusion") || said.contains('\n') {
            wrong.push(format!("{sql}: {:?}: {said}", error.kind()));
        }
        if expected.is_some() && error.location() != expected {
            wrong.push(format!("{sql}: at {:?}: {said}", error.location()));
        }
        println!("{sql}\n  {:?} {said}\n", error.location());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn wrong_columns_and_expressions_of_a_frame_are_named() {
    let place = Place::new();
    let input = place.stream("csv");
    says(&input.select(["nom"]).unwrap_err(), ErrorKind::User, &["`nom`", "nome"]);
    says(&input.select_expr(&["idad + 1"]).unwrap_err(), ErrorKind::User, &["idad", "idade"]);
    says(&input.filter("idade >").unwrap_err(), ErrorKind::User, &["idade >"]);
    says(&input.filter("nome").unwrap_err(), ErrorKind::User, &["nome"]);
    says(&input.drop(&["nom"]).unwrap_err(), ErrorKind::User, &["`nom`", "nome"]);
    says(&input.with_column_renamed("nom", "x").unwrap_err(), ErrorKind::User, &["`nom`", "nome"]);
    says(&input.group_by(["nom"]).err().unwrap(), ErrorKind::User, &["`nom`", "nome"]);
    says(&place.session.table("nada").unwrap_err(), ErrorKind::User, &["there is no table `nada`"]);
}
