//! Computing an expression, as Python does.
//!
//! Whole numbers stay whole as long as they fit 128 bits; `/` always gives a floating
//! one, `//` and `%` round down, and halves are rounded to the even neighbour. What
//! Python refuses (a division by zero, the root of a negative number) is an error.

use std::cmp::Ordering;

use super::expr::{Binary, Comparison, Expr, ExprError, Function, Number};

/// The values that an expression's variables have, and where chance comes from.
pub(crate) struct Values<'a> {
    pub(crate) variables: &'a [Number],
    /// A number from 0 up to, and without, 1.
    pub(crate) random: &'a mut dyn FnMut() -> f64,
}

/// Computes an expression.
pub(crate) fn eval(expr: &Expr, values: &mut Values<'_>) -> Result<Number, ExprError> {
    match expr {
        Expr::Number(number) => Ok(*number),
        Expr::Variable(variable) => {
            let value = values.variables.get(usize::from(*variable));
            value
                .copied()
                .ok_or_else(|| ExprError::new("a variable has no value"))
        }
        Expr::Negate(inner) => Ok(match eval(inner, values)? {
            Number::Int(value) => value
                .checked_neg()
                .map_or(Number::Float(-(value as f64)), Number::Int),
            Number::Float(value) => Number::Float(-value),
        }),
        Expr::Not(inner) => Ok(truth(!eval(inner, values)?.is_true())),
        Expr::Binary(Binary::And, left, right) => {
            let left = eval(left, values)?;
            if left.is_true() {
                eval(right, values)
            } else {
                Ok(left)
            }
        }
        Expr::Binary(Binary::Or, left, right) => {
            let left = eval(left, values)?;
            if left.is_true() {
                Ok(left)
            } else {
                eval(right, values)
            }
        }
        Expr::Binary(operator, left, right) => {
            let (left, right) = (eval(left, values)?, eval(right, values)?);
            compute(*operator, left, right)
        }
        Expr::Compare(first, rest) => eval_comparison(first, rest, values),
        Expr::If {
            condition,
            then,
            other,
        } => {
            let taken = eval(condition, values)?.is_true();
            eval(if taken { then } else { other }, values)
        }
        Expr::Call(function, arguments) => {
            let mut numbers = Vec::with_capacity(arguments.len());
            for argument in arguments {
                numbers.push(eval(argument, values)?);
            }
            call(*function, &numbers, values.random)
        }
    }
}

fn truth(value: bool) -> Number {
    Number::Int(i128::from(value))
}

fn eval_comparison(
    first: &Expr,
    rest: &[(Comparison, Expr)],
    values: &mut Values<'_>,
) -> Result<Number, ExprError> {
    let mut left = eval(first, values)?;
    for (comparison, right) in rest {
        let right = eval(right, values)?;
        let order = compare(left, right);
        let holds = match comparison {
            Comparison::Less => order == Some(Ordering::Less),
            Comparison::LessEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Comparison::Equal => order == Some(Ordering::Equal),
            Comparison::NotEqual => order != Some(Ordering::Equal),
            Comparison::GreaterEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
            Comparison::Greater => order == Some(Ordering::Greater),
        };
        if !holds {
            return Ok(truth(false));
        }
        left = right;
    }
    Ok(truth(true))
}

fn compare(left: Number, right: Number) -> Option<Ordering> {
    match (left, right) {
        (Number::Int(left), Number::Int(right)) => Some(left.cmp(&right)),
        _ => left.as_f64().partial_cmp(&right.as_f64()),
    }
}

fn compute(operator: Binary, left: Number, right: Number) -> Result<Number, ExprError> {
    let zero = right.as_f64() == 0.0;
    if zero && matches!(operator, Binary::Div | Binary::FloorDiv | Binary::Mod) {
        return Err(ExprError::new("it divides by zero"));
    }
    if let (Number::Int(left), Number::Int(right)) = (left, right) {
        return compute_int(operator, left, right);
    }
    let (left, right) = (left.as_f64(), right.as_f64());
    let result = match operator {
        Binary::Add => left + right,
        Binary::Sub => left - right,
        Binary::Mul => left * right,
        Binary::Div => left / right,
        Binary::FloorDiv => floor_div(left, right),
        Binary::Mod => modulo(left, right),
        Binary::Pow => return power(left, right),
        Binary::ShiftLeft | Binary::ShiftRight => {
            return Err(ExprError::new("`<<` and `>>` need whole numbers"));
        }
        Binary::And | Binary::Or => 0.0,
    };
    Ok(Number::Float(result))
}

fn compute_int(operator: Binary, left: i128, right: i128) -> Result<Number, ExprError> {
    let (wide_left, wide_right) = (left as f64, right as f64);
    let (exact, wide) = match operator {
        Binary::Add => (left.checked_add(right), wide_left + wide_right),
        Binary::Sub => (left.checked_sub(right), wide_left - wide_right),
        Binary::Mul => (left.checked_mul(right), wide_left * wide_right),
        Binary::Div => (None, wide_left / wide_right),
        Binary::FloorDiv => (floor_div_int(left, right), floor_div(wide_left, wide_right)),
        Binary::Mod => (modulo_int(left, right), modulo(wide_left, wide_right)),
        Binary::Pow => return power_int(left, right),
        Binary::ShiftLeft | Binary::ShiftRight => return shift(operator, left, right),
        Binary::And | Binary::Or => (None, 0.0),
    };
    Ok(exact.map_or(Number::Float(wide), Number::Int))
}

/// Rounds down, as Python does; division in Rust rounds towards zero.
fn floor_div_int(left: i128, right: i128) -> Option<i128> {
    let quotient = left.checked_div(right)?;
    let down = left.checked_rem(right)? != 0 && (left < 0) != (right < 0);
    quotient.checked_sub(i128::from(down))
}

fn modulo_int(left: i128, right: i128) -> Option<i128> {
    let rest = left.checked_rem(right)?;
    if rest != 0 && (rest < 0) != (right < 0) {
        rest.checked_add(right)
    } else {
        Some(rest)
    }
}

/// The remainder with the sign of the divisor.
fn modulo(left: f64, right: f64) -> f64 {
    let rest = left % right;
    if rest != 0.0 && (rest < 0.0) != (right < 0.0) {
        rest + right
    } else if rest == 0.0 {
        0.0_f64.copysign(right)
    } else {
        rest
    }
}

/// Not `(left / right).floor()`: that may round up before it rounds down.
fn floor_div(left: f64, right: f64) -> f64 {
    let quotient = (left - modulo(left, right)) / right;
    let down = quotient.floor();
    if quotient - down > 0.5 {
        down + 1.0
    } else {
        down
    }
}

fn power(left: f64, right: f64) -> Result<Number, ExprError> {
    if left == 0.0 && right < 0.0 {
        return Err(ExprError::new("it divides by zero"));
    }
    let result = left.powf(right);
    if result.is_nan() && !left.is_nan() && !right.is_nan() {
        return Err(ExprError::new(
            "a negative number has no such power among the real numbers",
        ));
    }
    Ok(Number::Float(result))
}

fn power_int(left: i128, right: i128) -> Result<Number, ExprError> {
    if right < 0 {
        return power(left as f64, right as f64);
    }
    let exact = u32::try_from(right)
        .ok()
        .and_then(|right| left.checked_pow(right));
    match exact {
        Some(value) => Ok(Number::Int(value)),
        None => power(left as f64, right as f64),
    }
}

fn shift(operator: Binary, left: i128, right: i128) -> Result<Number, ExprError> {
    if right < 0 {
        return Err(ExprError::new("a shift cannot be negative"));
    }
    let bits = u32::try_from(right).unwrap_or(u32::MAX);
    if operator == Binary::ShiftRight {
        return Ok(Number::Int(left.checked_shr(bits).unwrap_or(left >> 127)));
    }
    let wide = left as f64 * 2.0_f64.powf(f64::from(bits));
    let exact = left
        .checked_shl(bits)
        .filter(|value| *value >> bits == left);
    Ok(exact.map_or(Number::Float(wide), Number::Int))
}

fn call(
    function: Function,
    arguments: &[Number],
    random: &mut dyn FnMut() -> f64,
) -> Result<Number, ExprError> {
    let first = arguments.first().copied().unwrap_or(Number::Int(0));
    let second = arguments.get(1).copied();
    let float = |value: f64| Ok(Number::Float(value));
    match function {
        Function::Min => Ok(pick(arguments, Ordering::Less)),
        Function::Max => Ok(pick(arguments, Ordering::Greater)),
        Function::Float => float(first.as_f64()),
        Function::Int => whole(first, f64::trunc),
        Function::Floor => whole(first, f64::floor),
        Function::Ceil => whole(first, f64::ceil),
        Function::Round => round(first, second),
        Function::Abs => Ok(match first {
            Number::Int(value) => value
                .checked_abs()
                .map_or(Number::Float((value as f64).abs()), Number::Int),
            Number::Float(value) => Number::Float(value.abs()),
        }),
        Function::Pow => compute(Binary::Pow, first, second.unwrap_or(first)),
        Function::MathPow => power(first.as_f64(), second.unwrap_or(first).as_f64()),
        Function::Exp => float(first.as_f64().exp()),
        Function::Log => {
            let base = second.map_or(Ok(1.0), |base| logarithm(base, f64::ln))?;
            let value = logarithm(first, f64::ln)?;
            if base == 0.0 {
                return Err(ExprError::new("it divides by zero"));
            }
            float(if second.is_some() {
                value / base
            } else {
                value
            })
        }
        Function::Log2 => float(logarithm(first, f64::log2)?),
        Function::Log10 => float(logarithm(first, f64::log10)?),
        Function::Sqrt if first.as_f64() < 0.0 => {
            Err(ExprError::new("a negative number has no square root"))
        }
        Function::Sqrt => float(first.as_f64().sqrt()),
        Function::Random => float(random()),
        Function::Uniform => {
            let (low, high) = (first.as_f64(), second.unwrap_or(first).as_f64());
            float(low + (high - low) * random())
        }
        Function::RandInt => {
            let (low, high) = (first.as_f64(), second.unwrap_or(first).as_f64());
            whole(
                Number::Float(low + (high - low + 1.0) * random()),
                f64::floor,
            )
        }
    }
}

fn pick(arguments: &[Number], wanted: Ordering) -> Number {
    let mut best = arguments.first().copied().unwrap_or(Number::Int(0));
    for &number in arguments.iter().skip(1) {
        if compare(number, best) == Some(wanted) {
            best = number;
        }
    }
    best
}

fn logarithm(number: Number, of: fn(f64) -> f64) -> Result<f64, ExprError> {
    if number.as_f64() <= 0.0 {
        return Err(ExprError::new("only a positive number has a logarithm"));
    }
    Ok(of(number.as_f64()))
}

fn whole(number: Number, round: fn(f64) -> f64) -> Result<Number, ExprError> {
    match number {
        Number::Int(_) => Ok(number),
        Number::Float(value) if !value.is_finite() => {
            Err(ExprError::new("an infinite number cannot be made whole"))
        }
        // Beyond 128 bits a floating number is whole anyway.
        Number::Float(value) if value.abs() > 1e38 => Ok(number),
        Number::Float(value) => Ok(Number::Int(round(value) as i128)),
    }
}

/// Halves go to the even neighbour.
fn round(number: Number, digits: Option<Number>) -> Result<Number, ExprError> {
    let Some(digits) = digits else {
        return whole(number, f64::round_ties_even);
    };
    match number {
        Number::Int(_) if digits.as_f64() >= 0.0 => Ok(number),
        _ => {
            let places = usize::try_from(digits.as_f64() as i64)
                .ok()
                .filter(|places| *places <= 300)
                .ok_or_else(|| ExprError::new("`round` takes 0 to 300 digits"))?;
            let text = format!("{:.places$}", number.as_f64());
            Ok(Number::Float(text.parse().unwrap_or(number.as_f64())))
        }
    }
}
