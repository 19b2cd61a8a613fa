set(libraries Eigen3::Eigen)
