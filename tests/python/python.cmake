# Results as other programs see them, and the Python package: pytest, with Debian's Python.
find_program(WAYFARER_PYTHON python3 PATHS /usr/bin NO_DEFAULT_PATH)
if(WAYFARER_PYTHON)
  execute_process(COMMAND ${WAYFARER_PYTHON} -c "import pytest, h5py, xarray" RESULT_VARIABLE missing OUTPUT_QUIET ERROR_QUIET)
endif()
if(WAYFARER_PYTHON AND missing EQUAL 0)
  foreach(name see package docs begin cookbook notebooks space)
    add_test(NAME python.${name} COMMAND ${WAYFARER_PYTHON} -B -m pytest -q -p no:cacheprovider ${CMAKE_CURRENT_LIST_DIR}/${name}_test.py)
    set_tests_properties(python.${name} PROPERTIES LABELS quick TIMEOUT 600
      ENVIRONMENT "WAYFARER=$<TARGET_FILE:wayfarer>;WAYFARER_SOURCE=${PROJECT_SOURCE_DIR};PYTHONPATH=${PROJECT_SOURCE_DIR}/python")
  endforeach()
else()
  message(STATUS "Tests in Python are left out: python3-pytest, python3-h5py or python3-xarray is missing")
endif()
