# What `cmake --install` adds to the targets: the CMake package and the templates of `wayfarer new` and `init`. Components: runtime, development.
#
# The build tree is laid out like a prefix, so that find_package(wayfarer) and `wayfarer new` work from it too.
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/wayfarer)
set(built_package ${PROJECT_BINARY_DIR}/lib/cmake/wayfarer)

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/wayfarer-config.cmake.in ${built_package}/wayfarer-config.cmake
  INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${built_package}/wayfarer-config-version.cmake COMPATIBILITY SameMajorVersion)
export(EXPORT wayfarer_targets NAMESPACE wayfarer:: FILE ${built_package}/wayfarer-targets.cmake)
set(package_files wayfarer_add_plugin.cmake wayfarer_check_plugin.cmake plugin.map)
foreach(file ${package_files})
  configure_file(${CMAKE_CURRENT_LIST_DIR}/${file} ${built_package}/${file} COPYONLY)
endforeach()
install(EXPORT wayfarer_targets NAMESPACE wayfarer:: FILE wayfarer-targets.cmake DESTINATION ${package_dir} COMPONENT development)
list(TRANSFORM package_files PREPEND ${built_package}/)
install(FILES ${built_package}/wayfarer-config.cmake ${built_package}/wayfarer-config-version.cmake ${package_files}
  DESTINATION ${package_dir} COMPONENT development)

set(template_dir ${PROJECT_SOURCE_DIR}/sdk/template)
file(GLOB_RECURSE templates CONFIGURE_DEPENDS RELATIVE ${template_dir} ${template_dir}/*)
foreach(file ${templates})
  configure_file(${template_dir}/${file} ${PROJECT_BINARY_DIR}/share/wayfarer/template/${file} COPYONLY)
endforeach()
install(DIRECTORY ${template_dir} DESTINATION ${CMAKE_INSTALL_DATADIR}/wayfarer COMPONENT development)
# What `wayfarer init` writes, where the program of the build tree finds it, too.
foreach(file core/cli/project/pipeline.yaml core/cli/project/texts.txt core/cli/project/notes.md)
  cmake_path(GET file FILENAME name)
  configure_file(${PROJECT_SOURCE_DIR}/${file} ${PROJECT_BINARY_DIR}/share/wayfarer/project/${name} COPYONLY)
endforeach()
foreach(name README.md config.json merges.txt model.safetensors vocab.json)
  configure_file(${PROJECT_SOURCE_DIR}/runs/data/tiny-gpt2/${name} ${PROJECT_BINARY_DIR}/share/wayfarer/runs/data/tiny-gpt2/${name} COPYONLY)
endforeach()
install(DIRECTORY ${PROJECT_SOURCE_DIR}/core/cli/project DESTINATION ${CMAKE_INSTALL_DATADIR}/wayfarer COMPONENT runtime)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/runs DESTINATION ${CMAKE_INSTALL_DATADIR}/wayfarer COMPONENT runtime)
