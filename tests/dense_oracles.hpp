// Decompositions of dense matrices by Eigen, to compare with: compiled once for all test programs, because each takes many
// seconds. Everything is float64. Pure functions; any thread.
#pragma once

#include <Eigen/Core>

namespace dense {

using matrix = Eigen::MatrixXd;

/// Of m: [rows, columns], largest first.
Eigen::VectorXd singular_values(matrix const& m);
/// Of a complex matrix: the smallest of its singular values.
double smallest_singular_value(Eigen::MatrixXcd const& m);

/// m = left diag(values) right^T, thin, largest value first.
struct svd {
  matrix left, right;
  Eigen::VectorXd values;
};
svd svd_of(matrix const& m);

/// Of a square matrix: column i of `vectors` belongs to values[i]. The order is Eigen's.
struct eigen {
  Eigen::VectorXcd values;
  Eigen::MatrixXcd vectors;
};
eigen eigen_of(matrix const& m);

/// Of a symmetric matrix, smallest value first.
struct symmetric_eigen {
  Eigen::VectorXd values;
  matrix vectors;
};
symmetric_eigen symmetric_eigen_of(matrix const& m);

}  // namespace dense
