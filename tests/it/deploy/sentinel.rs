//! The table, the transformation and the rules for Microsoft Sentinel.

use std::collections::BTreeSet;

use serde_json::Value;
use yaml_rust2::Yaml;

use super::{all_names, dotted, files, json, unquoted, yaml};

#[test]
fn sentinel_takes_the_record_as_it_is() {
    let template = json("sentinel/azuredeploy.json");
    let column = |column: &Value| column["name"].as_str().unwrap().to_owned();
    let columns = |list: &Value| -> BTreeSet<String> { list.as_array().unwrap().iter().map(column).collect() };
    let table = columns(&template["resources"][0]["properties"]["schema"]["columns"]);
    let rule = &template["resources"][1]["properties"];
    let stream = columns(&rule["streamDeclarations"]["Custom-RefreshAudit"]["columns"]);
    let known = all_names("'json'", "[0]", &[]);
    assert_eq!(stream, known.iter().filter(|name| !name.contains(['.', '['])).cloned().collect());
    let flow = &rule["dataFlows"][0];
    assert_eq!(
        (&flow["streams"][0], &flow["outputStream"]),
        (&"Custom-RefreshAudit".into(), &"Custom-RefreshAudit_CL".into())
    );
    let kql = flow["transformKql"].as_str().unwrap();
    for word in dotted(&unquoted(kql), "_.[]") {
        // The list of findings may have several.
        let word = (0..8).fold(word.to_owned(), |word, at| word.replace(&format!("[{at}]"), "[0]"));
        assert!(known.contains(&word), "the transformation names {word}");
    }
    for member in kql.split("Worst.").skip(1) {
        let end = member.find(|c: char| !c.is_ascii_alphanumeric()).unwrap();
        assert!(known.contains(&format!("findings[0].{}", &member[..end])), "no finding has {}", &member[..end]);
    }
    let (made, project) = kql.split_once("| project ").unwrap();
    let projected: BTreeSet<String> =
        project.split(" = ").map(|part| part.rsplit(' ').next().unwrap().to_owned()).collect();
    for name in &table {
        assert!(projected.contains(name), "{name} is in the table and not projected");
    }
    assert_eq!(project.matches(" = ").count(), table.len(), "what is projected and not in the table is lost");
    // What a query over the table cannot do without: the judgement, whether it was carried out, and what vouches for it.
    for name in ["GateAction", "GateWould", "Verdict", "Evidence", "Findings"] {
        assert!(table.contains(name), "{name}");
    }
    severities_in_order(made);
    rules(&table);
}

/// From the worst on: the first that is there counts, and it says which finding does.
fn severities_in_order(kql: &str) {
    let places: Vec<usize> = ["critical", "high", "medium", "low", "info"]
        .iter()
        .map(|severity| kql.find(&format!(r#""severity":"{severity}""#)).unwrap())
        .collect();
    assert!(places.is_sorted(), "{places:?}");
    assert!(kql.contains("Worst = case(tostring(findings[0].severity) == Severity, findings[0], "), "{kql}");
}

/// What an alert can say of itself by a column (`KnownAlertProperty` of Azure's SDK); its severity and tactics have
/// members of their own.
const ALERT_PROPERTIES: &[&str] = &[
    "AlertLink",
    "ConfidenceLevel",
    "ConfidenceScore",
    "ExtendedLinks",
    "ProductComponentName",
    "ProductName",
    "ProviderName",
    "RemediationSteps",
    "SubTechniques",
    "Techniques",
];

fn rules(table: &BTreeSet<String>) {
    let mut seen = 0;
    for file in files("sentinel/rules") {
        let rule = yaml(&file);
        for member in ["id", "name", "description", "severity", "query", "queryFrequency", "kind", "version"] {
            assert!(!rule[member].is_badvalue(), "{}: {member}", file.display());
        }
        let query = unquoted(rule["query"].as_str().unwrap());
        let query: String = query.lines().filter(|line| !line.trim().starts_with("//")).collect::<Vec<_>>().join("\n");
        let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || "_.".contains(c)));
        for word in words.filter(|word| word.starts_with(|c: char| c.is_ascii_uppercase())) {
            let name = word.split('.').next().unwrap();
            let is_made = query.contains(&format!("{name} = "));
            assert!(name == "RefreshAudit_CL" || table.contains(name) || is_made, "{}: {word}", file.display());
            seen += 1;
        }
        for entity in rule["entityMappings"].as_vec().into_iter().flatten() {
            let name = entity["fieldMappings"][0]["columnName"].as_str().unwrap();
            assert!(query.contains(name), "{}: {name}", file.display());
        }
        alerts(&file.display().to_string(), &rule);
    }
    assert!(seen > 30, "{seen}");
}

/// What an alert is made to say exists, and one that speaks of a thing each is made for each.
fn alerts(file: &str, rule: &Yaml) {
    let query = rule["query"].as_str().unwrap();
    let details = &rule["alertDetailsOverride"];
    for property in details["alertDynamicProperties"].as_vec().into_iter().flatten() {
        let name = property["alertProperty"].as_str().unwrap();
        assert!(ALERT_PROPERTIES.contains(&name), "{file}: there is no alertProperty {name}");
    }
    if let Some(column) = details["alertSeverityColumnName"].as_str() {
        // The only values that Sentinel knows.
        let (_, case) = query.split_once(&format!("{column} = case(")).unwrap_or_else(|| panic!("{file}: {column}"));
        let given: Vec<&str> = case.lines().next().unwrap().split('"').skip(1).step_by(2).collect();
        let known = ["High", "Medium", "Low", "Informational"];
        assert!(known.iter().all(|severity| given.contains(severity)), "{file}: {given:?}");
        let ours = ["critical", "high", "medium", "low"];
        assert!(given.iter().all(|text| known.contains(text) || ours.contains(text)), "{file}: {given:?}");
    }
    let each = rule["description"].as_str().unwrap().contains("one alert a ") || !details.is_badvalue();
    let grouping = rule["eventGroupingSettings"]["aggregationKind"].as_str();
    assert_eq!(grouping, each.then_some("AlertPerResult"), "{file}");
}

/// Whoever counts what is there, to see what is not, must not estimate.
#[test]
fn a_single_missing_record_is_a_gap() {
    let rule = yaml("sentinel/rules/gap.yaml");
    let query: String = rule["query"].as_str().unwrap().lines().filter(|line| !line.trim().starts_with("//")).collect();
    assert!(!query.contains("dcount"), "{query}");
    assert!(query.contains("by Journal, Seq") && query.contains("Present = count()"), "{query}");
    assert!(query.contains("where Missing > 0"), "{query}");
}
