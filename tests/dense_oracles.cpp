#include "dense_oracles.hpp"

#include <Eigen/Eigenvalues>
#include <Eigen/SVD>

namespace dense {

Eigen::VectorXd singular_values(matrix const& m) {
  return Eigen::JacobiSVD<matrix>(m).singularValues();
}

double smallest_singular_value(Eigen::MatrixXcd const& m) {
  // A real matrix that has each singular value twice.
  matrix real(2 * m.rows(), 2 * m.cols());
  real << m.real(), -m.imag(), m.imag(), m.real();
  return singular_values(real).minCoeff();
}

svd svd_of(matrix const& m) {
  Eigen::JacobiSVD<matrix> const s(m, Eigen::ComputeThinU | Eigen::ComputeThinV);
  return {s.matrixU(), s.matrixV(), s.singularValues()};
}

eigen eigen_of(matrix const& m) {
  Eigen::EigenSolver<matrix> const s(m);
  return {s.eigenvalues(), s.eigenvectors()};
}

symmetric_eigen symmetric_eigen_of(matrix const& m) {
  Eigen::SelfAdjointEigenSolver<matrix> const s(m);
  return {s.eigenvalues(), s.eigenvectors()};
}

}  // namespace dense
