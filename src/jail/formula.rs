//! The formulas of `bantime.increment`: how long the next ban of an old acquaintance is.
//!
//! A formula is a Python expression over `ban.Time` (the jail's ban time in seconds),
//! `ban.Count` (how often the address was banned) and `banFactor`. It is read once, when
//! the configuration is; computing it cannot do anything but compute. Chance comes from
//! the caller.

pub(crate) mod eval;
pub(crate) mod expr;

use std::fmt;
use std::sync::Arc;

use eval::{Values, eval};
use expr::{Const, Expr, Function, Language, Name};
pub use expr::{ExprError, Number};

const LANGUAGE: Language = Language {
    name,
    unit: None,
    accepted: "a formula has numbers, ban.Time, ban.Count, banFactor, \
               + - * / // % ** << >>, comparisons, `a if b else c`, \
               min max int float abs round pow, math.exp and its like",
};

fn name(word: &str) -> Option<Name> {
    let function = match word {
        "ban.Time" => return Some(Name::Variable(0)),
        "ban.Count" => return Some(Name::Variable(1)),
        "banFactor" => return Some(Name::Variable(2)),
        "True" => return Some(Name::Constant(Const::True)),
        "False" => return Some(Name::Constant(Const::False)),
        "math.pi" => return Some(Name::Constant(Const::Pi)),
        "math.e" => return Some(Name::Constant(Const::E)),
        "min" => Function::Min,
        "max" => Function::Max,
        "int" | "math.trunc" => Function::Int,
        "float" => Function::Float,
        "abs" | "math.fabs" => Function::Abs,
        "round" => Function::Round,
        "pow" => Function::Pow,
        "math.pow" => Function::MathPow,
        "math.exp" => Function::Exp,
        "math.log" => Function::Log,
        "math.log2" => Function::Log2,
        "math.log10" => Function::Log10,
        "math.sqrt" => Function::Sqrt,
        "math.floor" => Function::Floor,
        "math.ceil" => Function::Ceil,
        "random.random" => Function::Random,
        "random.uniform" => Function::Uniform,
        "random.randint" => Function::RandInt,
        _ => return None,
    };
    Some(Name::Function(function))
}

/// A formula that has been read. Cheap to clone; equal if written alike.
#[derive(Clone)]
pub struct Formula {
    text: Arc<str>,
    expr: Arc<Expr>,
}

impl Formula {
    /// Reads a formula.
    ///
    /// # Errors
    /// What has no meaning in it, and what would be accepted.
    pub fn parse(text: &str) -> Result<Self, ExprError> {
        Ok(Formula {
            text: Arc::from(text),
            expr: Arc::new(expr::parse(text, &LANGUAGE)?),
        })
    }

    /// Computes it, in seconds. `time_secs` is the jail's ban time, `count` how often the
    /// address was banned, `random` gives numbers from 0 up to, and without, 1.
    ///
    /// # Errors
    /// A division by zero, a logarithm of nothing, or no finite number at the end.
    pub fn eval(
        &self,
        time_secs: f64,
        count: u32,
        factor: f64,
        random: &mut dyn FnMut() -> f64,
    ) -> Result<f64, ExprError> {
        // A whole number of seconds is a whole number in Python too: `//` and `<<` care.
        let time = if time_secs.fract() == 0.0 && time_secs.abs() < 1e15 {
            Number::Int(time_secs as i128)
        } else {
            Number::Float(time_secs)
        };
        let variables = [time, Number::Int(i128::from(count)), Number::Float(factor)];
        let mut values = Values {
            variables: &variables,
            random,
        };
        let result = eval(&self.expr, &mut values)?.as_f64();
        if result.is_nan() {
            return Err(ExprError::new("the result is not a number"));
        }
        Ok(result)
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Formula {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl PartialEq for Formula {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// A number that may be written as an expression, as in `2.0 / 2.885385`.
///
/// # Errors
/// As [`Formula::parse`] and [`Formula::eval`]; variables have no place here.
pub fn constant(text: &str) -> Result<f64, ExprError> {
    let formula = Formula::parse(text)?;
    let mut values = Values {
        variables: &[],
        random: &mut || 0.5,
    };
    let value = eval(&formula.expr, &mut values)?.as_f64();
    if value.is_finite() {
        Ok(value)
    } else {
        Err(ExprError::new("it is infinite"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let formula = match Formula::parse(text) {
            Ok(formula) => formula,
            Err(error) => return error.to_string(),
        };
        match formula.eval(600.0, 3, 1.5, &mut || 0.25) {
            Ok(value) => format!("{value}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn formulas() {
        for (text, expected) in [
            (
                "ban.Time * (1<<(ban.Count if ban.Count<20 else 20)) * banFactor",
                "7200",
            ),
            (
                "ban.Time * math.exp(float(ban.Count+1)*banFactor)/math.exp(1*banFactor)",
                "54010.27878031309",
            ),
            ("min(ban.Time * ban.Count ** 2, 3600)", "3600"),
            ("ban.Time + random.random() * 60", "615"),
            ("ban.Time // 7 % 5", "0"),
            ("-ban.Count ** 2", "-9"),
            ("2 ** -1", "0.5"),
            ("1 < ban.Count < 4 and not False or 9", "1"),
            ("max(1, 2, round(2.5), abs(-3))", "3"),
            (
                "math.log2(8) + math.log10(100) + math.log(9, 3) + math.sqrt(16)",
                "11",
            ),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_formula() {
        for (text, expected) in [
            ("__import__('os')", "`'` has no meaning here"),
            ("ban.Count.real", "`ban.Count.real` has no meaning there"),
            ("[1]", "`[` has no meaning here"),
            ("1 if 2", "an `if` needs its `else`"),
            ("math.log(0)", "only a positive number has a logarithm"),
            ("min(1)", "`min` does not take 1 arguments"),
            ("ban.Time ban.Count", "`ban.Count` has no meaning there"),
            ("lambda: 1", "`:` has no meaning here"),
        ] {
            assert!(shown(text).starts_with(expected), "{text}: {}", shown(text));
        }
        assert_eq!(constant("2.0 / 2.885385"), Ok(2.0 / 2.885385));
        assert!(constant("ban.Time").is_err());
    }
}
