//! Whether a program's names are known and its types agree. The texts are the reference's library's.

use super::functions::{self, Overload};
use super::types::{Known, Type};
use super::{Each, Expr, Fault, Macro, Node};

/// The faults of a program.
pub fn check(node: &Node) -> Vec<Fault> {
    let mut checker = Checker::default();
    checker.type_of(node);
    checker.faults
}

#[derive(Default)]
struct Checker {
    faults: Vec<Fault>,
    known: Known,
    variables: u32,
    /// Names that macros bind, the innermost last.
    bound: Vec<(String, Type)>,
}

impl Checker {
    fn tell(&mut self, at: usize, what: String) -> Type {
        self.faults.push(Fault::new(at, what));
        Type::Error
    }

    fn undeclared(&mut self, at: usize, name: &str) -> Type {
        self.tell(at, format!("undeclared reference to '{name}' (in container '')"))
    }

    fn fresh(&mut self) -> Type {
        self.variables += 1;
        // Numbers below belong to the overloads as they are declared.
        Type::Var(self.variables + 1)
    }

    fn type_of(&mut self, node: &Node) -> Type {
        match &node.expr {
            Expr::Literal(value) => Type::of(value),
            Expr::Name(name) => self.name(node.at, name),
            Expr::Field { object, name, test } => self.field(node.at, object, name, *test),
            Expr::Call { function, target, args } => self.call(node.at, function, target.as_deref(), args),
            Expr::List(items) => {
                let types: Vec<_> = items.iter().map(|item| self.type_of(item)).collect();
                Type::list(self.common(&types))
            }
            Expr::Map(entries) => {
                let (mut keys, mut values) = (Vec::new(), Vec::new());
                for (key, value) in entries {
                    keys.push(self.type_of(key));
                    values.push(self.type_of(value));
                }
                Type::map(self.common(&keys), self.common(&values))
            }
            Expr::Message(name) => self.undeclared(node.at, name),
            Expr::Each(each) => self.each(node.at, each),
        }
    }

    /// The one type of all of them, or anything.
    fn common(&mut self, types: &[Type]) -> Type {
        let Some((first, rest)) = types.split_first() else { return self.fresh() };
        for other in rest {
            let mut tried = self.known.clone();
            let (a, b) = (tried.resolved(first), tried.resolved(other));
            if a == Type::Dyn || b == Type::Dyn || !tried.agree(&a, &b) {
                return Type::Dyn;
            }
            self.known = tried;
        }
        self.known.resolved(first)
    }

    fn name(&mut self, at: usize, name: &str) -> Type {
        if let Some((_, found)) = self.bound.iter().rev().find(|(bound, _)| bound == name) {
            return found.clone();
        }
        match functions::named_type(name) {
            Some(of) => Type::Of(Box::new(of)),
            None => self.undeclared(at, name),
        }
    }

    fn field(&mut self, at: usize, object: &Node, name: &str, test: bool) -> Type {
        if let Some(of) = message_type(object, name) {
            return Type::Of(Box::new(of));
        }
        let of = self.type_of(object);
        let found = match self.known.resolved(&of) {
            Type::Map(_, value) => *value,
            Type::Dyn | Type::Error => Type::Dyn,
            Type::Var(number) => {
                self.known.agree(&Type::Var(number), &Type::Dyn);
                Type::Dyn
            }
            other => self
                .tell(at, format!("type '{}' does not support field selection", self.known.settled(&other))),
        };
        if test { Type::Bool } else { found }
    }

    fn call(&mut self, at: usize, function: &str, target: Option<&Node>, args: &[Node]) -> Type {
        let given: Vec<_> = args.iter().map(|arg| self.type_of(arg)).collect();
        let target = target.map(|target| self.type_of(target));
        match functions::overloads(function) {
            Some(overloads) => self.resolve(at, function, &overloads, target.as_ref(), &given),
            None => self.undeclared(at, function),
        }
    }

    /// The result of the overloads that take what is given.
    fn resolve(
        &mut self,
        at: usize,
        function: &str,
        overloads: &[Overload],
        target: Option<&Type>,
        given: &[Type],
    ) -> Type {
        let all: Vec<Type> = target.into_iter().chain(given).cloned().collect();
        let mut result: Option<Type> = None;
        for overload in overloads {
            if overload.method != target.is_some() || overload.args.len() != all.len() {
                continue;
            }
            let (first, second) = (self.fresh(), self.fresh());
            let own = |of: &Type| of.mapped(&mut |n| if n == 0 { first.clone() } else { second.clone() });
            let mut tried = self.known.clone();
            if overload.args.iter().zip(&all).all(|(wanted, given)| tried.agree(&own(wanted), given)) {
                self.known = tried;
                let found = self.known.resolved(&own(&overload.result));
                result = Some(match result {
                    Some(there) if there != found => Type::Dyn,
                    _ => found,
                });
            }
        }
        result.unwrap_or_else(|| {
            let shown = |types: &[Type]| -> String {
                let each: Vec<_> = types.iter().map(|t| self.known.settled(t).to_string()).collect();
                format!("({})", each.join(", "))
            };
            let applied = match target {
                Some(target) => format!("{}.{}", self.known.settled(target), shown(given)),
                None => shown(given),
            };
            self.tell(at, format!("found no matching overload for '{function}' applied to '{applied}'"))
        })
    }

    fn each(&mut self, at: usize, each: &Each) -> Type {
        let range = self.type_of(&each.range);
        let element = match self.known.resolved(&range) {
            Type::List(element) => *element,
            Type::Map(key, _) => *key,
            Type::Dyn | Type::Error | Type::Var(_) => Type::Dyn,
            other => {
                let what = self.known.settled(&other);
                self.tell(
                    each.range.at,
                    format!("expression of type '{what}' cannot be range of a comprehension (must be list, map, or dynamic)"),
                )
            }
        };
        self.bound.push((each.name.clone(), element.clone()));
        let filter = each.filter.as_ref().map(|filter| self.type_of(filter));
        let body = self.type_of(&each.body);
        self.bound.pop();
        // What a macro stands for: `all` and `exists` join what each element says, the others choose by it.
        let mut joined = |function: &str, args: &[Type]| {
            let overloads = functions::overloads(function).unwrap_or_default();
            self.resolve(at, function, &overloads, None, args)
        };
        match each.kind {
            Macro::All => joined("_&&_", &[Type::Bool, body]),
            Macro::Exists => joined("_||_", &[Type::Bool, body]),
            Macro::ExistsOne => match joined("_?_:_", &[body, Type::Int, Type::Int]) {
                Type::Error => Type::Error,
                _ => Type::Bool,
            },
            Macro::Filter => {
                let list = Type::list(element);
                joined("_?_:_", &[body, list.clone(), list])
            }
            Macro::Map => {
                let list = Type::list(body);
                match filter {
                    Some(filter) => joined("_?_:_", &[filter, list.clone(), list]),
                    None => list,
                }
            }
        }
    }
}

/// The types of messages that stand for times.
fn message_type(object: &Node, name: &str) -> Option<Type> {
    let Expr::Field { object, name: package, .. } = &object.expr else { return None };
    let is_google = matches!(&object.expr, Expr::Name(name) if name == "google");
    match (is_google && package == "protobuf", name) {
        (true, "Timestamp") => Some(Type::Timestamp),
        (true, "Duration") => Some(Type::Duration),
        _ => None,
    }
}
