//! Whether a condition can mean anything: every name exists, every operator fits what it is given, the whole is true or
//! false, and it comes to an end soon. So a rule fails when it is written, not on the day it is needed.
//!
//! CEL's own types, narrowed: no timestamps, no maps made by the rule, comparisons within one kind.

use std::collections::BTreeMap;

use cel::{
    IdedExpr,
    common::ast::{CallExpr, ComprehensionExpr, Expr, LiteralValue, SourceInfo, operators},
};
use ipnet::IpNet;
use regex::{Regex, RegexBuilder};

use super::{
    types::{Type, names},
    values::LIST_MAX,
};

/// Steps that one evaluation may take, a member, operator or function each; about 40 ns a step.
pub(super) const STEPS_MAX: usize = 10_000;
/// Bytes that a compiled pattern may take.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// What is wrong, and at which byte of the condition.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) what: String,
    pub(super) at: Option<usize>,
}

/// What a condition needs to be evaluated.
#[derive(Default)]
pub(super) struct Needs {
    /// Patterns of `matches`, by their text.
    pub(super) patterns: BTreeMap<String, Regex>,
    /// Networks of `inNetwork`, by their text.
    pub(super) networks: BTreeMap<String, IpNet>,
    /// Steps at most.
    pub(super) steps: usize,
}

/// Checks a condition over `variables`.
pub(super) fn check(
    condition: &IdedExpr,
    source: &SourceInfo,
    variables: &BTreeMap<&str, Type>,
) -> Result<Needs, Wrong> {
    let mut checker = Checker { source, variables, scope: Vec::new(), needs: Needs::default(), factor: 1 };
    let whole = checker.type_of(condition)?;
    if !whole.is_bool() {
        return Err(checker.wrong(condition, format!("a condition is true or false, this is {whole}")));
    }
    Ok(checker.needs)
}

/// `has(a.b.c)` as an operator means it: also false where `b` is absent, which CEL calls an error.
pub(super) fn forgive_absence(expr: &mut IdedExpr) {
    children_mut(expr).into_iter().for_each(forgive_absence);
    let Expr::Select(select) = &expr.expr else { return };
    let Expr::Select(of) = &select.operand.expr else { return };
    if select.test && !of.test {
        let mut outer = of.clone();
        outer.test = true;
        let mut outer = IdedExpr { id: select.operand.id, expr: Expr::Select(outer) };
        forgive_absence(&mut outer);
        let both = vec![outer, expr.clone()];
        expr.expr = Expr::Call(CallExpr { func_name: operators::LOGICAL_AND.to_owned(), target: None, args: both });
    }
}

/// Whether a condition names a variable.
pub(super) fn asks(condition: &IdedExpr, name: &str) -> bool {
    matches!(&condition.expr, Expr::Ident(known) if known == name)
        || children(condition).into_iter().any(|child| asks(child, name))
}

fn children(expr: &IdedExpr) -> Vec<&IdedExpr> {
    match &expr.expr {
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Comprehension(all) => vec![&all.iter_range, &all.accu_init, &all.loop_cond, &all.loop_step, &all.result],
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Select(select) => vec![&select.operand],
        // What groups hold is refused by the check.
        Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
    }
}

fn children_mut(expr: &mut IdedExpr) -> Vec<&mut IdedExpr> {
    match &mut expr.expr {
        Expr::Call(call) => call.target.as_deref_mut().into_iter().chain(&mut call.args).collect(),
        Expr::Comprehension(all) => {
            let ComprehensionExpr { iter_range, accu_init, loop_cond, loop_step, result, .. } = &mut **all;
            vec![iter_range, accu_init, loop_cond, loop_step, result]
        }
        Expr::List(list) => list.elements.iter_mut().collect(),
        Expr::Select(select) => vec![&mut select.operand],
        Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
    }
}

struct Checker<'a> {
    source: &'a SourceInfo,
    variables: &'a BTreeMap<&'a str, Type>,
    /// Variables of `exists` and its like, the innermost last.
    scope: Vec<(String, Type)>,
    needs: Needs,
    /// How often what is looked at now can be evaluated.
    factor: usize,
}

impl Checker<'_> {
    fn wrong(&self, expr: &IdedExpr, what: impl Into<String>) -> Wrong {
        let at = self.source.offset_for(expr.id).and_then(|(start, _)| usize::try_from(start).ok());
        Wrong { what: what.into(), at }
    }

    fn type_of(&mut self, expr: &IdedExpr) -> Result<Type, Wrong> {
        self.needs.steps = self.needs.steps.saturating_add(self.factor);
        if self.needs.steps > STEPS_MAX {
            let what = format!("the condition can take more than {STEPS_MAX} steps (a list counts as {LIST_MAX} long)");
            return Err(self.wrong(expr, what));
        }
        match &expr.expr {
            Expr::Literal(literal) => self.literal(expr, literal),
            Expr::Ident(name) => self.variable(expr, name),
            Expr::Select(select) => {
                let of = self.type_of(&select.operand)?;
                let member = self.member(expr, &of, &select.field)?;
                Ok(if select.test { Type::Bool } else { member })
            }
            Expr::List(list) => {
                let mut all = Type::Any;
                for one in &list.elements {
                    let next = self.type_of(one)?;
                    if !all.is_like(&next) {
                        return Err(self.wrong(one, format!("this is {next}, what stands before it is {all}")));
                    }
                    all = next;
                }
                Ok(all.list())
            }
            Expr::Call(call) => self.call(expr, call),
            Expr::Comprehension(all) => self.comprehension(expr, all),
            Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => {
                Err(self.wrong(expr, "a rule cannot make groups of members"))
            }
        }
    }

    fn literal(&self, expr: &IdedExpr, literal: &LiteralValue) -> Result<Type, Wrong> {
        Ok(match literal {
            LiteralValue::Boolean(_) => Type::Bool,
            LiteralValue::Int(_) => Type::Int,
            LiteralValue::Double(_) => Type::Double,
            LiteralValue::String(_) => Type::Text,
            LiteralValue::Null => return Err(self.wrong(expr, "nothing is ever null here: ask with has(…)")),
            LiteralValue::UInt(_) => return Err(self.wrong(expr, "write whole numbers without the `u`")),
            LiteralValue::Bytes(_) => return Err(self.wrong(expr, "nothing here is bytes")),
        })
    }

    fn variable(&self, expr: &IdedExpr, name: &str) -> Result<Type, Wrong> {
        let local = self.scope.iter().rev().find(|(known, _)| known == name).map(|(_, kind)| kind);
        local.or_else(|| self.variables.get(name)).cloned().ok_or_else(|| {
            let known = self.variables.keys().copied().collect::<Vec<_>>().join(", ");
            self.wrong(expr, format!("there is no `{name}`; a rule can ask {known}"))
        })
    }

    fn member(&self, expr: &IdedExpr, of: &Type, name: &str) -> Result<Type, Wrong> {
        match of {
            Type::Any => Ok(Type::Any),
            Type::Map(inner) => Ok((**inner).clone()),
            Type::Object(members) => members
                .get(name)
                .cloned()
                .ok_or_else(|| self.wrong(expr, format!("there is no member `{name}`{}", near(name, members)))),
            _ => Err(self.wrong(expr, format!("`.{name}` asks for a member, but this is {of}"))),
        }
    }

    fn call(&mut self, expr: &IdedExpr, call: &CallExpr) -> Result<Type, Wrong> {
        let all: Vec<&IdedExpr> = call.target.as_deref().into_iter().chain(&call.args).collect();
        let mut given = Vec::new();
        for one in &all {
            given.push(self.type_of(one)?);
        }
        let does_not_fit = |checker: &Self| {
            let types = given.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
            checker.wrong(expr, format!("`{}` does not fit {types}", spelled(&call.func_name)))
        };
        let fitting = match (call.func_name.as_str(), &given[..]) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR, [one, other]) => {
                (one.is_bool() && other.is_bool()).then_some(Type::Bool)
            }
            (operators::LOGICAL_NOT | operators::NOT_STRICTLY_FALSE, [one]) => one.is_bool().then_some(Type::Bool),
            (operators::EQUALS | operators::NOT_EQUALS, [one, other]) => {
                self.is_word(all[0], other)?;
                self.is_word(all[1], one)?;
                one.is_like(other).then_some(Type::Bool)
            }
            (
                operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS,
                [one, other],
            ) => {
                if matches!(one, Type::Word(_)) || matches!(other, Type::Word(_)) {
                    return Err(self.wrong(expr, "words have no order: write `x in [\"…\", \"…\"]`"));
                }
                let ordered = one.is_number() && other.is_number() || one.is_text() && other.is_text();
                ordered.then_some(Type::Bool)
            }
            (operators::ADD, [one, other]) if one.is_text() && other.is_text() => Some(Type::Text),
            (operators::ADD, [Type::List(one), Type::List(other)]) if one.is_like(other) => Some(given[1].clone()),
            (
                operators::ADD | operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE | operators::MODULO,
                [one, other],
            ) => (one.is_number() && one.is_like(other) && one == other).then(|| one.clone()),
            (operators::NEGATE, [one]) => one.is_number().then(|| one.clone()),
            (operators::CONDITIONAL, [which, one, other]) => {
                (which.is_bool() && one.is_like(other)).then(|| one.clone())
            }
            (operators::IN, [one, Type::List(inner)]) => {
                self.are_words(all[1], one)?;
                self.is_word(all[0], inner)?;
                one.is_like(inner).then_some(Type::Bool)
            }
            (operators::IN, [one, Type::Map(_) | Type::Any]) => one.is_text().then_some(Type::Bool),
            (operators::INDEX, [Type::List(inner), Type::Int]) => Some((**inner).clone()),
            (operators::INDEX, [Type::Map(inner), Type::Text]) => Some((**inner).clone()),
            (operators::INDEX, [Type::Any, _]) => Some(Type::Any),
            ("size", [Type::List(_) | Type::Map(_) | Type::Any]) => Some(Type::Int),
            ("size", [one]) => one.is_text().then_some(Type::Int),
            ("startsWith" | "endsWith" | "contains", [one, other]) => {
                (call.target.is_some() && one.is_text() && other.is_text()).then_some(Type::Bool)
            }
            ("matches", [one, _]) if one.is_text() => return self.pattern(all[1]),
            ("inNetwork", [one, _]) if one.is_text() => return self.network(all[1]),
            ("int", [one]) => (one.is_number() || one.is_text()).then_some(Type::Int),
            ("double", [one]) => (one.is_number() || one.is_text()).then_some(Type::Double),
            ("string", [one]) => (one.is_number() || one.is_text() || one.is_bool()).then_some(Type::Text),
            (other, _) if spelled(other) == other && !FUNCTIONS.contains(&other) => {
                let what = format!("there is no function `{other}`; there are {}", FUNCTIONS.join(", "));
                return Err(self.wrong(expr, what));
            }
            _ => None,
        };
        fitting.ok_or_else(|| does_not_fit(self))
    }

    /// Where a value can only be one of a few words, a text beside it must be one of them.
    fn is_word(&self, expr: &IdedExpr, other: &Type) -> Result<(), Wrong> {
        let (Some(text), Type::Word(words)) = (text_of(expr), other) else { return Ok(()) };
        if words.iter().any(|word| word == text) {
            return Ok(());
        }
        Err(self.wrong(expr, format!("this is never `{text}`; {}", other_words(text, words))))
    }

    fn are_words(&self, list: &IdedExpr, one: &Type) -> Result<(), Wrong> {
        match &list.expr {
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.is_word(element, one)),
            _ => Ok(()),
        }
    }

    fn pattern(&mut self, expr: &IdedExpr) -> Result<Type, Wrong> {
        let text = text_of(expr).ok_or_else(|| self.wrong(expr, "a pattern is written out in the rule"))?;
        let made = RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build();
        // The last of its lines says what is wrong, those before it show where.
        let pattern = made.map_err(|error| {
            let error = error.to_string();
            self.wrong(expr, format!("not a pattern: {}", error.lines().last().unwrap_or_default()))
        })?;
        self.needs.patterns.insert(text.to_owned(), pattern);
        Ok(Type::Bool)
    }

    fn network(&mut self, expr: &IdedExpr) -> Result<Type, Wrong> {
        let text = text_of(expr).ok_or_else(|| self.wrong(expr, "a network is written out in the rule"))?;
        let network: IpNet =
            text.parse().map_err(|_| self.wrong(expr, format!("`{text}` is no network such as 10.0.0.0/8")))?;
        if network.trunc() != network {
            return Err(self.wrong(expr, format!("`{text}` has bits behind its prefix; write {}", network.trunc())));
        }
        self.needs.networks.insert(text.to_owned(), network);
        Ok(Type::Bool)
    }

    fn comprehension(&mut self, expr: &IdedExpr, all: &ComprehensionExpr) -> Result<Type, Wrong> {
        let inner = match self.type_of(&all.iter_range)? {
            Type::List(inner) => *inner,
            // Members have no order that would be the same in every run.
            other => {
                return Err(self.wrong(&all.iter_range, format!("only a list can be gone through, this is {other}")));
            }
        };
        if all.iter_var2.is_some() {
            return Err(self.wrong(expr, "a list is gone through with one variable"));
        }
        let begin = self.type_of(&all.accu_init)?;
        let (outside, depth) = (self.factor, self.scope.len());
        self.factor = self.factor.saturating_mul(LIST_MAX);
        self.scope.push((all.iter_var.clone(), inner));
        self.scope.push((all.accu_var.clone(), begin));
        self.type_of(&all.loop_cond)?;
        let step = self.type_of(&all.loop_step)?;
        self.factor = outside;
        self.scope.truncate(depth);
        self.scope.push((all.accu_var.clone(), step));
        let result = self.type_of(&all.result);
        self.scope.truncate(depth);
        result
    }
}

/// Those that a rule may call.
const FUNCTIONS: &[&str] =
    &["size", "startsWith", "endsWith", "contains", "matches", "inNetwork", "int", "double", "string"];

fn text_of(expr: &IdedExpr) -> Option<&str> {
    match &expr.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

/// An operator as it is written: `_==_` is `==`.
fn spelled(function: &str) -> &str {
    function.trim_matches(['_', '@'])
}

fn near(name: &str, members: &BTreeMap<String, Type>) -> String {
    let nearest = members.keys().min_by_key(|known| strsim::damerau_levenshtein(known, name));
    match nearest.filter(|known| strsim::damerau_levenshtein(known, name) <= 2) {
        Some(known) => format!("; did you mean `{known}`?"),
        None => format!("; there are {}", names(members)),
    }
}

fn other_words(text: &str, words: &[String]) -> String {
    match words.iter().find(|word| strsim::damerau_levenshtein(word, text) <= 2) {
        Some(word) => format!("did you mean `{word}`?"),
        None => format!("it is one of {}", words.join(", ")),
    }
}
