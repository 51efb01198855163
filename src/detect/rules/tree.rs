//! Conditions as trees: what they name, and what `has` means in them.

use cel::{
    IdedExpr,
    common::ast::{CallExpr, ComprehensionExpr, Expr, operators},
};

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
