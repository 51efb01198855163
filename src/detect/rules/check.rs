//! Whether a condition can mean anything: every name exists, every operator fits what it is given, the whole is true or
//! false, and it comes to an end soon. So a rule fails when it is written, not on the day it is needed.
//!
//! CEL's own types, narrowed: no timestamps, no maps made by the rule, no lists of lists, comparisons within one kind.

use std::collections::BTreeMap;

use cel::{
    IdedExpr,
    common::ast::{CallExpr, ComprehensionExpr, Expr, LiteralValue, SelectExpr, SourceInfo, operators},
};

use super::{
    cost::{self, Size},
    pattern::Pattern,
    types::{Type, names},
    values::{LIST_MAX, TEXT_MAX},
};
use crate::host::Addresses;

/// Steps that one evaluation may take: a member, operator or function each, and what it does with bytes (`cost`).
pub(super) const STEPS_MAX: usize = 10_000;

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
    pub(super) patterns: BTreeMap<String, Pattern>,
    /// Networks of `inNetwork`, by their text.
    pub(super) networks: BTreeMap<String, Addresses>,
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
    let (whole, _) = checker.look(condition)?;
    if !whole.is_bool() {
        return Err(checker.wrong(condition, format!("a condition is true or false, this is {whole}")));
    }
    Ok(checker.needs)
}

struct Checker<'a> {
    source: &'a SourceInfo,
    variables: &'a BTreeMap<&'a str, Type>,
    /// Variables of `exists` and its like, the innermost last.
    scope: Vec<(String, Type, Size)>,
    needs: Needs,
    /// How often what is looked at now can be evaluated.
    factor: usize,
}

impl Checker<'_> {
    fn wrong(&self, expr: &IdedExpr, what: impl Into<String>) -> Wrong {
        let at = self.source.offset_for(expr.id).and_then(|(start, _)| usize::try_from(start).ok());
        Wrong { what: what.into(), at }
    }

    /// Counts steps, as often as they can be taken.
    fn spend(&mut self, expr: &IdedExpr, steps: usize) -> Result<(), Wrong> {
        self.needs.steps = self.needs.steps.saturating_add(self.factor.saturating_mul(steps));
        if self.needs.steps <= STEPS_MAX {
            return Ok(());
        }
        let what = format!(
            "the condition can take more than {STEPS_MAX} steps (a list counts as {LIST_MAX} long, a text as {TEXT_MAX} \
             bytes): go through fewer lists, search long texts less (`==` and `startsWith` cost less than `contains` and \
             `matches`), or make two rules of it"
        );
        Err(self.wrong(expr, what))
    }

    /// Steps for finding a member, beside the one for each name on the way to it: CEL looks for every beginning of the
    /// path among the variables of each scope, and `has` asks for every beginning.
    fn path_steps(&self, select: &SelectExpr) -> usize {
        let (mut names, mut bytes, mut of) = (2, select.field.len(), &select.operand.expr);
        while let Expr::Select(next) = of {
            (names, bytes, of) = (names + 1, bytes + next.field.len(), &next.operand.expr);
        }
        let searched = Size::of_text(bytes).searched() * (1 + self.scope.len() / 2);
        if select.test { names * (names + searched) } else { searched }
    }

    /// What an expression is and how large it can be.
    fn look(&mut self, expr: &IdedExpr) -> Result<(Type, Size), Wrong> {
        self.spend(expr, 1)?;
        match &expr.expr {
            Expr::Literal(literal) => self.literal(expr, literal),
            Expr::Ident(name) => self.variable(expr, name),
            Expr::Select(select) => {
                self.spend(expr, self.path_steps(select))?;
                let (of, size) = self.look(&select.operand)?;
                let member = self.member(expr, &of, &select.field)?;
                let kind = if select.test { Type::Bool } else { member };
                let size = size.part(&kind);
                Ok((kind, size))
            }
            Expr::List(list) => {
                let (mut all, mut size) = (Type::Any, Size { len: list.elements.len(), bytes: 0 });
                for one in &list.elements {
                    let (next, next_size) = self.look(one)?;
                    if !all.is_like(&next) {
                        return Err(self.wrong(one, format!("this is {next}, what stands before it is {all}")));
                    }
                    // Copied with all that is in it, and so without end.
                    if matches!(next, Type::List(_) | Type::Any) {
                        let what =
                            "a list of a rule holds texts, numbers and groups, no lists: write string(…) or int(…)";
                        return Err(self.wrong(one, format!("this is {next}; {what}")));
                    }
                    self.spend(one, next_size.copied())?;
                    size.bytes = size.bytes.max(next_size.bytes);
                    all = next;
                }
                Ok((all.list(), size))
            }
            Expr::Call(call) => self.call(expr, call),
            Expr::Comprehension(all) => self.comprehension(expr, all),
            Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => {
                Err(self.wrong(expr, "a rule cannot make groups of members"))
            }
        }
    }

    fn literal(&self, expr: &IdedExpr, literal: &LiteralValue) -> Result<(Type, Size), Wrong> {
        Ok(match literal {
            LiteralValue::Boolean(_) => (Type::Bool, Size::NONE),
            LiteralValue::Int(_) => (Type::Int, Size::NONE),
            LiteralValue::Double(_) => (Type::Double, Size::NONE),
            LiteralValue::String(text) => (Type::Text, Size::of_text(text.inner().len())),
            LiteralValue::Null => return Err(self.wrong(expr, "nothing is ever null here: ask with has(…)")),
            LiteralValue::UInt(_) => return Err(self.wrong(expr, "write whole numbers without the `u`")),
            LiteralValue::Bytes(_) => return Err(self.wrong(expr, "nothing here is bytes")),
        })
    }

    fn variable(&self, expr: &IdedExpr, name: &str) -> Result<(Type, Size), Wrong> {
        if let Some((_, kind, size)) = self.scope.iter().rev().find(|(known, ..)| known == name) {
            return Ok((kind.clone(), *size));
        }
        let asked = self.variables.get(name).map(|kind| (kind.clone(), Size::ASKED.part(kind)));
        asked.ok_or_else(|| {
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

    fn call(&mut self, expr: &IdedExpr, call: &CallExpr) -> Result<(Type, Size), Wrong> {
        let all: Vec<&IdedExpr> = call.target.as_deref().into_iter().chain(&call.args).collect();
        let (mut given, mut sizes) = (Vec::new(), Vec::new());
        for one in &all {
            let (kind, size) = self.look(one)?;
            given.push(kind);
            sizes.push(size);
        }
        let function = call.func_name.as_str();
        let kind = self.fitting(expr, call, &all, &given)?.ok_or_else(|| {
            let types = given.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
            self.wrong(expr, format!("`{}` does not fit {types}", spelled(function)))
        })?;
        self.spend(expr, cost::steps(function, &given, &sizes))?;
        let size = cost::size(function, &kind, &given, &sizes);
        Ok((kind, size))
    }

    /// What a call makes of what it is given; nothing where it does not fit.
    fn fitting(
        &mut self,
        expr: &IdedExpr,
        call: &CallExpr,
        all: &[&IdedExpr],
        given: &[Type],
    ) -> Result<Option<Type>, Wrong> {
        Ok(match (call.func_name.as_str(), given) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR, [one, other]) => {
                (one.is_bool() && other.is_bool()).then_some(Type::Bool)
            }
            (operators::LOGICAL_NOT | operators::NOT_STRICTLY_FALSE, [one]) => one.is_bool().then_some(Type::Bool),
            (operators::EQUALS | operators::NOT_EQUALS, [one, other]) => {
                self.is_word(all[0], other)?;
                self.is_word(all[1], one)?;
                self.is_shallow(expr, one, other)?;
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
            (
                operators::ADD | operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE | operators::MODULO,
                [Type::Any, _] | [_, Type::Any],
            ) => return Err(self.wrong(expr, "say what it is with string(…), int(…) or double(…)")),
            (operators::ADD, [one, other]) if one.is_text() && other.is_text() => Some(Type::Text),
            (operators::ADD, [Type::List(one), Type::List(other)]) if one.is_like(other) => Some(given[1].clone()),
            (
                operators::ADD | operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE | operators::MODULO,
                [one, other],
            ) => (one.is_number() && one.is_like(other) && one == other).then(|| one.clone()),
            (operators::NEGATE, [one]) => one.is_number().then(|| one.clone()),
            (operators::CONDITIONAL, [which, one, other]) => {
                let kind = if *other == Type::Any { other } else { one };
                (which.is_bool() && one.is_like(other)).then(|| kind.clone())
            }
            (operators::IN, [one, Type::List(inner)]) => {
                self.are_words(all[1], one)?;
                self.is_word(all[0], inner)?;
                self.is_shallow(expr, one, inner)?;
                one.is_like(inner).then_some(Type::Bool)
            }
            (operators::IN, [one, Type::Map(_) | Type::Any]) => one.is_text().then_some(Type::Bool),
            (operators::INDEX, [Type::List(inner), Type::Int]) => Some((**inner).clone()),
            (operators::INDEX, [Type::Map(inner), Type::Text]) => Some((**inner).clone()),
            (operators::INDEX, [Type::Any, Type::Int | Type::Text]) => Some(Type::Any),
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
        })
    }

    /// Two values that can both hold others without end are not compared.
    fn is_shallow(&self, expr: &IdedExpr, one: &Type, other: &Type) -> Result<(), Wrong> {
        if one.is_deep() && other.is_deep() {
            return Err(self.wrong(expr, format!("this compares {one} and {other}: compare their members")));
        }
        Ok(())
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

    fn pattern(&mut self, expr: &IdedExpr) -> Result<Option<Type>, Wrong> {
        let text = text_of(expr).ok_or_else(|| self.wrong(expr, "a pattern is written out in the rule"))?;
        let pattern = Pattern::read(text).map_err(|what| self.wrong(expr, what))?;
        self.spend(expr, cost::steps_of_table(pattern.bytes()))?;
        self.needs.patterns.insert(text.to_owned(), pattern);
        Ok(Some(Type::Bool))
    }

    fn network(&mut self, expr: &IdedExpr) -> Result<Option<Type>, Wrong> {
        let text = text_of(expr).ok_or_else(|| self.wrong(expr, "a network is written out in the rule"))?;
        let network: Addresses = text.parse().map_err(|what| self.wrong(expr, what))?;
        self.needs.networks.insert(text.to_owned(), network);
        Ok(Some(Type::Bool))
    }

    fn comprehension(&mut self, expr: &IdedExpr, all: &ComprehensionExpr) -> Result<(Type, Size), Wrong> {
        let (inner, range) = match self.look(&all.iter_range)? {
            (Type::List(inner), range) => (*inner, range),
            // Members have no order that would be the same in every run.
            (other, _) => {
                return Err(self.wrong(&all.iter_range, format!("only a list can be gone through, this is {other}")));
            }
        };
        if all.iter_var2.is_some() {
            return Err(self.wrong(expr, "a list is gone through with one variable"));
        }
        // Each element is copied into the variable; groups are not (`values`).
        let copied = if inner.is_deep() { 0 } else { range.copied() };
        self.spend(expr, copied)?;
        let (begin, size) = self.look(&all.accu_init)?;
        let (outside, depth) = (self.factor, self.scope.len());
        self.factor = self.factor.saturating_mul(range.len);
        let element = range.part(&inner);
        self.scope.push((all.iter_var.clone(), inner, element));
        self.scope.push((all.accu_var.clone(), begin, size));
        self.look(&all.loop_cond)?;
        let (step, size) = self.look(&all.loop_step)?;
        self.factor = outside;
        self.scope.truncate(depth);
        // `map` and `filter` add what one step adds to an empty list, as often as there are elements.
        let size = Size { len: size.len.saturating_mul(range.len), ..size };
        self.scope.push((all.accu_var.clone(), step, size));
        let result = self.look(&all.result);
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
