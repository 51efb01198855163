//! JSON as CEL values, cut to sizes that bound what a condition can cost (`cost`).

use std::{any::Any, collections::HashMap, sync::Arc};

use cel::common::{
    traits::{Container, Indexer, Sizer},
    types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, Type},
    value::Val,
};

/// Elements of a list, or names of a group, that a condition sees; the rest is cut.
pub(super) const LIST_MAX: usize = 64;
/// Bytes of a text that a condition sees.
pub(super) const TEXT_MAX: usize = 8 << 10;
/// The same of a text anywhere within a list: going through the list may read all of them.
pub(super) const LISTED_TEXT_MAX: usize = 1 << 10;

/// The value that a condition sees.
pub(super) fn value(json: serde_json::Value) -> Box<dyn Val> {
    shown(json, TEXT_MAX)
}

/// The same of an element of a list.
pub(super) fn element(json: serde_json::Value) -> Box<dyn Val> {
    shown(json, LISTED_TEXT_MAX)
}

fn shown(json: serde_json::Value, text_max: usize) -> Box<dyn Val> {
    match json {
        serde_json::Value::Null => Box::new(CelNull),
        serde_json::Value::Bool(is) => Box::new(CelBool::from(is)),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(whole) => Box::new(CelInt::from(whole)),
            None => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
        },
        serde_json::Value::String(text) => Box::new(CelString::from(cut(text, text_max))),
        serde_json::Value::Array(list) => {
            Box::new(CelList::from(list.into_iter().take(LIST_MAX).map(element).collect::<Vec<_>>()))
        }
        serde_json::Value::Object(members) => {
            let members = members.into_iter().take(LIST_MAX);
            let members = members.map(|(name, one)| (CelMapKey::from(name), shown(one, text_max)));
            Box::new(Group(Arc::new(CelMap::from(members.collect::<HashMap<_, _>>()))))
        }
    }
}

fn cut(mut text: String, max: usize) -> String {
    if text.len() > max {
        let end = (0..=max).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

/// Members by their names. CEL copies what it goes through: a copy of this costs nothing, however much is in it.
#[derive(Clone, Debug)]
struct Group(Arc<CelMap<'static>>);

impl Val for Group {
    fn get_type(&self) -> &Type {
        self.0.get_type()
    }

    fn cel_type() -> &'static Type {
        CelMap::cel_type()
    }

    fn as_container(&self) -> Option<&dyn Container> {
        self.0.as_container()
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        self.0.as_indexer()
    }

    fn as_sizer(&self) -> Option<&dyn Sizer> {
        self.0.as_sizer()
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}
