//! The toy library's operations, each with its gradient.

use super::ToyArray;
use super::global::uniform;

/// Operations. All but the losses keep the graph small: one node each.
///
/// # Panics
///
/// If shapes do not fit.
impl ToyArray {
    /// The product of `[m, k]` and `[k, n]`.
    pub fn matmul(&self, other: &ToyArray) -> ToyArray {
        let (&[m, k], &[rows, n]) = (self.shape(), other.shape()) else {
            wrong_shapes("matmul", self, other)
        };
        assert_eq!(k, rows, "matmul of {:?} and {:?}", self.shape(), other.shape());
        let (a, b) = (self.values(), other.values());
        let values = product(&a, &b, [m, k, n]);
        ToyArray::result(&[m, n], values, &[self, other], move |gradient| {
            let to_a = product(gradient, &transposed(&b, [k, n]), [m, n, k]);
            let to_b = product(&transposed(&a, [m, k]), gradient, [k, m, n]);
            vec![to_a, to_b]
        })
    }

    /// The sum with an array of the same shape, or with one row that is added to each row.
    pub fn add(&self, other: &ToyArray) -> ToyArray {
        let row = other.values();
        let n = row.len().max(1);
        let fits = self.shape() == other.shape() || self.shape().last() == Some(&n) && other.shape() == [n];
        assert!(fits, "sum of {:?} and {:?}", self.shape(), other.shape());
        let values = self.values().iter().enumerate().map(|(i, value)| value + row[i % n]).collect();
        ToyArray::result(self.shape(), values, &[self, other], move |gradient| {
            let mut to_row = vec![0.0; n];
            gradient.iter().enumerate().for_each(|(i, gradient)| to_row[i % n] += gradient);
            vec![gradient.to_vec(), to_row]
        })
    }

    /// The difference; shapes as in [`add`](ToyArray::add).
    pub fn sub(&self, other: &ToyArray) -> ToyArray {
        self.add(&other.scale(-1.0))
    }

    /// The product element by element, of equal shapes.
    pub fn mul(&self, other: &ToyArray) -> ToyArray {
        assert_eq!(self.shape(), other.shape(), "product of unequal shapes");
        let (a, b) = (self.values(), other.values());
        ToyArray::result(self.shape(), multiplied(&a, &b), &[self, other], move |gradient| {
            vec![multiplied(gradient, &b), multiplied(gradient, &a)]
        })
    }

    /// Every element times `factor`.
    pub fn scale(&self, factor: f64) -> ToyArray {
        self.map(|x| x * factor, move |_| factor)
    }

    /// Negative elements become 0.
    pub fn relu(&self) -> ToyArray {
        self.map(|x| x.max(0.0), |x| if x > 0.0 { 1.0 } else { 0.0 })
    }

    /// The hyperbolic tangent of every element.
    pub fn tanh(&self) -> ToyArray {
        self.map(f64::tanh, |x| 1.0 - x.tanh().powi(2))
    }

    /// Each element becomes 0 with probability `p`, drawn from the generator of the thread; the
    /// others are divided by `1 - p`.
    pub fn dropout(&self, p: f64) -> ToyArray {
        let mask = self.values().iter().map(|_| if uniform() < p { 0.0 } else { 1.0 / (1.0 - p) }).collect();
        self.mul(&ToyArray::leaf(self.shape(), mask, self.device(), false))
    }

    /// The same values; `f` is called when their gradient arrives. If it panics, the gradients added before
    /// remain, as after a panic in a kernel.
    pub fn on_backward(&self, f: impl Fn() + Send + Sync + 'static) -> ToyArray {
        ToyArray::result(self.shape(), self.values(), &[self], move |gradient| {
            f();
            vec![gradient.to_vec()]
        })
    }

    /// The mean over all elements, a single number.
    pub fn mean(&self) -> ToyArray {
        let values = self.values();
        let n = values.len();
        let mean = values.iter().sum::<f64>() / n as f64;
        ToyArray::result(&[], vec![mean], &[self], move |gradient| vec![vec![gradient[0] / n as f64; n]])
    }

    /// The mean over the rows of `[m, n]`, of shape `[n]`.
    pub fn mean_row(&self) -> ToyArray {
        let &[m, n] = self.shape() else { wrong_shapes("mean row", self, self) };
        let values = self.values();
        let mean = (0..n).map(|j| (0..m).map(|i| values[i * n + j]).sum::<f64>() / m as f64).collect();
        ToyArray::result(&[n], mean, &[self], move |gradient| {
            vec![gradient.iter().map(|gradient| gradient / m as f64).collect::<Vec<_>>().repeat(m)]
        })
    }

    /// The mean of the squared differences, a single number.
    pub fn mean_squared_error(&self, target: &ToyArray) -> ToyArray {
        assert_eq!(self.shape(), target.shape(), "outputs and targets of unequal shapes");
        let difference = self.sub(target);
        difference.mul(&difference).mean()
    }

    /// The mean over the rows of the cross-entropy between the softmax of these logits and the
    /// row's label, a single number.
    pub fn cross_entropy(&self, labels: &[usize]) -> ToyArray {
        let &[m, n] = self.shape() else { wrong_shapes("cross entropy", self, self) };
        let fits = labels.len() == m && labels.iter().all(|&label| label < n);
        assert!(fits, "labels do not fit logits of shape {:?}", self.shape());
        let (mut loss, mut slope) = (0.0, self.values());
        for (row, &label) in slope.chunks_exact_mut(n).zip(labels) {
            let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = row.iter().map(|logit| (logit - largest).exp()).sum();
            loss += largest + sum.ln() - row[label];
            row.iter_mut().for_each(|logit| *logit = (*logit - largest).exp() / sum);
            row[label] -= 1.0;
        }
        ToyArray::result(&[], vec![loss / m as f64], &[self], move |gradient| {
            vec![slope.iter().map(|slope| slope * gradient[0] / m as f64).collect()]
        })
    }

    fn map(&self, f: impl Fn(f64) -> f64, slope: impl Fn(f64) -> f64 + Send + Sync + 'static) -> ToyArray {
        let inputs = self.values();
        let values = inputs.iter().map(|&x| f(x)).collect();
        ToyArray::result(self.shape(), values, &[self], move |gradient| {
            vec![inputs.iter().zip(gradient).map(|(&x, gradient)| gradient * slope(x)).collect()]
        })
    }
}

#[expect(clippy::panic, reason = "a wrong shape panics in libtorch's modules, so it does here")]
fn wrong_shapes(operation: &str, a: &ToyArray, b: &ToyArray) -> ! {
    panic!("{operation} of {:?} and {:?}: two dimensions are needed", a.shape(), b.shape())
}

/// `[m, k]` times `[k, n]`.
fn product(a: &[f64], b: &[f64], [m, k, n]: [usize; 3]) -> Vec<f64> {
    let element = |at: usize| (0..k).map(|i| a[at / n * k + i] * b[i * n + at % n]).sum();
    (0..m * n).map(element).collect()
}

fn transposed(a: &[f64], [m, n]: [usize; 2]) -> Vec<f64> {
    (0..m * n).map(|at| a[at % m * n + at / m]).collect()
}

fn multiplied(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a * b).collect()
}
