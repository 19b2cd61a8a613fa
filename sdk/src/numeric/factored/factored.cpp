#include <wayfarer/factored.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>

#define EIGEN_DONT_PARALLELIZE
#include <Eigen/Dense>

#include <wayfarer/error.hpp>
#include <wayfarer/instruction_set.hpp>

#include "decompose.hpp"

namespace wayfarer {
namespace {

using matrix = Eigen::MatrixXd;
using row_major = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

Eigen::Index index(std::size_t n) {
  return static_cast<Eigen::Index>(n);
}

template <class T>
matrix copy_of(tensor const& t) {
  auto const v = t.view<T const>();
  matrix m(index(v.size(0)), index(v.size(1)));
  for (std::size_t i = 0; i < v.size(0); ++i)
    for (std::size_t j = 0; j < v.size(1); ++j) m(index(i), index(j)) = static_cast<double>(v(i, j));
  return m;
}

matrix to_matrix(tensor const& t) {
  if (t.type() == dtype::f32) return copy_of<float>(t);
  return copy_of<double>(t.type() == dtype::f64 ? t : t.to(dtype::f64));
}

struct factors {
  matrix a, b;  // [m, r], [r, n]
};

factors prepare(tensor const& a, tensor const& b) {
  if (a.rank() != 2 || b.rank() != 2 || a.size(1) != b.size(0))
    throw plugin_error("can't multiply " + describe(a.shape()) + " by " + describe(b.shape()));
  if (a.size(1) > a.size(0) || a.size(1) > b.size(1))
    throw plugin_error("the factors " + describe(a.shape()) + " and " + describe(b.shape()) + " are not thin");
  factors f{to_matrix(a), to_matrix(b)};
  if (!f.a.allFinite() || !f.b.allFinite())
    throw data_error("can't decompose a product of " + describe(a.shape()) + " and " + describe(b.shape()) +
                     ": the weights hold numbers that are not finite");
  return f;
}

factored_kernels::kernel_table const& kernels() {
#if defined(__x86_64__)
  using namespace factored_kernels;
  return for_best_set(kernels_avx512, kernels_avx2, kernels_baseline);
#else
  return factored_kernels::kernels_baseline;
#endif
}

/// By magnitude, then real, then imaginary part, all descending.
std::vector<Eigen::Index> order_of(Eigen::VectorXcd const& values) {
  std::vector<Eigen::Index> order(static_cast<std::size_t>(values.size()));
  std::iota(order.begin(), order.end(), Eigen::Index{0});
  std::stable_sort(order.begin(), order.end(), [&](Eigen::Index i, Eigen::Index j) {
    auto const a = values[i], b = values[j];
    // The two of a conjugate pair have the same magnitude only to rounding.
    double const x = std::norm(a), y = std::norm(b);
    if (std::abs(x - y) > 1e-12 * std::max(x, y)) return x > y;
    if (a.real() != b.real()) return a.real() > b.real();
    return a.imag() > b.imag();
  });
  return order;
}

}  // namespace

thin_svd svd_of_product(tensor const& a, tensor const& b) {
  auto const f = prepare(a, b);
  matrix const second = f.b.transpose();
  auto const r = static_cast<std::size_t>(f.a.cols());
  thin_svd out{tensor(dtype::f64, {{"direction", r}, a.shape()[0]}), tensor(dtype::f64, {{"direction", r}}),
               tensor(dtype::f64, {{"direction", r}, b.shape()[1]})};
  kernels().svd(f.a.data(), f.a.rows(), second.data(), second.rows(), f.a.cols(), out.values.view<double>().data(),
                out.left.view<double>().data(), out.right.view<double>().data());
  return out;
}

tensor singular_values_of_product(tensor const& a, tensor const& b) {
  auto const f = prepare(a, b);
  matrix const second = f.b.transpose();
  tensor out(dtype::f64, {{"direction", static_cast<std::size_t>(f.a.cols())}});
  kernels().svd(f.a.data(), f.a.rows(), second.data(), second.rows(), f.a.cols(), out.view<double>().data(), nullptr, nullptr);
  return out;
}

tensor triangle_of(tensor const& a) {
  if (a.rank() != 2 || a.size(1) > a.size(0)) throw plugin_error("the factor " + describe(a.shape()) + " is not thin");
  matrix const m = to_matrix(a);
  tensor out(dtype::f64, {{"direction", a.size(1)}, a.shape()[1]});
  kernels().triangle(m.data(), m.rows(), m.cols(), out.view<double>().data());
  return out;
}

std::vector<std::complex<double>> eigenvalues_of_product(tensor const& a, tensor const& b) {
  auto const f = prepare(a, b);
  if (a.size(0) != b.size(1)) throw plugin_error("only a square product has eigenvalues");
  Eigen::VectorXcd const values = matrix(f.b * f.a).eigenvalues();
  std::vector<std::complex<double>> out;
  for (auto const i : order_of(values)) out.push_back(values[i]);
  return out;
}

thin_eigen eigen_of_product(tensor const& a, tensor const& b) {
  auto const f = prepare(a, b);
  if (a.size(0) != b.size(1)) throw plugin_error("only a square product has eigenvectors");
  Eigen::EigenSolver<matrix> const solver(matrix(f.b * f.a));
  if (solver.info() != Eigen::Success) throw plugin_error("the eigenvalues did not converge");
  thin_eigen out;
  for (auto const i : order_of(solver.eigenvalues())) {
    out.values.push_back(solver.eigenvalues()[i]);
    // (b a) z = l z gives (a b)(a z) = l (a z).
    Eigen::VectorXcd v = f.a.cast<std::complex<double>>() * solver.eigenvectors().col(i);
    if (double const norm = v.norm(); norm > 0) v /= norm;
    out.vectors.emplace_back(v.data(), v.data() + v.size());
  }
  return out;
}

double frobenius_norm_of_product(tensor const& a, tensor const& b) {
  auto const f = prepare(a, b);
  // ||A B||^2 = trace(A^T A B B^T).
  matrix const left = f.a.transpose() * f.a, right = f.b * f.b.transpose();
  return std::sqrt(std::max(0.0, left.cwiseProduct(right).sum()));
}

}  // namespace wayfarer
