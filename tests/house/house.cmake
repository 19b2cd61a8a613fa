# The shape of the source tree.
add_test(NAME house.arrows COMMAND /usr/bin/python3 ${CMAKE_CURRENT_LIST_DIR}/arrows_test.py ${PROJECT_SOURCE_DIR})
set_tests_properties(house.arrows PROPERTIES LABELS quick)
