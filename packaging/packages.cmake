# Documents made by the program, and the Debian packages: cmake --preset package && cmake --build --preset package && cpack.
# docs/dependencies.md says what the packages depend on.
get_property(plugins GLOBAL PROPERTY WAYFARER_PLUGINS)
set(share ${PROJECT_BINARY_DIR}/share)
add_custom_command(OUTPUT ${share}/man/man1/wayfarer.1 VERBATIM
  COMMAND ${CMAKE_COMMAND} -DPROGRAM=$<TARGET_FILE:wayfarer> -DTO=${share} -DVERSION=${PROJECT_VERSION} "-DPLUGINS=${plugins}"
    -P ${CMAKE_CURRENT_LIST_DIR}/documents.cmake
  DEPENDS wayfarer ${plugins} ${CMAKE_CURRENT_LIST_DIR}/documents.cmake
  COMMENT "Writing the manual, the completion and a page for each plugin")
add_custom_target(program_documents ALL DEPENDS ${share}/man/man1/wayfarer.1)
# For docs/plugins.md, when a plugin comes, goes or says something else of itself; the test consumer.plugin_list tells when.
add_custom_target(plugin_list VERBATIM COMMAND ${CMAKE_COMMAND} -DINDEX=${share}/doc/wayfarer/plugins/index.md
  -DPAGE=${PROJECT_SOURCE_DIR}/docs/plugins.md -DWRITE=ON -P ${CMAKE_CURRENT_LIST_DIR}/plugin_list.cmake)
add_dependencies(plugin_list program_documents)
install(DIRECTORY ${share}/bash-completion DESTINATION ${CMAKE_INSTALL_DATADIR} COMPONENT runtime)
install(DIRECTORY ${share}/doc/wayfarer/plugins DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT runtime)
install(FILES ${PROJECT_SOURCE_DIR}/docs/write-a-probe.md ${PROJECT_SOURCE_DIR}/docs/plugin-abi.md DESTINATION ${CMAKE_INSTALL_DOCDIR}-dev COMPONENT development)

if(NOT CMAKE_INSTALL_PREFIX STREQUAL "/usr")
  install(FILES ${share}/man/man1/wayfarer.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT runtime)
  return()
endif()

# What Debian's policy asks of every package.
set(WAYFARER_PACKAGE_CONTACT "Wayfarer maintainers <wayfarer@packages.invalid>" CACHE STRING "Maintainer that the packages name")
string(TIMESTAMP today "%a, %d %b %Y %H:%M:%S +0000" UTC)
set(built ${PROJECT_BINARY_DIR}/packaging)
file(WRITE ${built}/changelog
  "wayfarer (${PROJECT_VERSION}) unstable; urgency=medium\n\n  * Release ${PROJECT_VERSION}; CHANGELOG.md in the sources says what is new.\n\n -- ${WAYFARER_PACKAGE_CONTACT}  ${today}\n")
find_program(WAYFARER_GZIP gzip REQUIRED)
add_custom_command(OUTPUT ${built}/changelog.gz ${built}/wayfarer.1.gz VERBATIM
  COMMAND sh -c "'${WAYFARER_GZIP}' -9n < '${built}/changelog' > '${built}/changelog.gz'"
  COMMAND sh -c "'${WAYFARER_GZIP}' -9n < '${share}/man/man1/wayfarer.1' > '${built}/wayfarer.1.gz'"
  DEPENDS ${share}/man/man1/wayfarer.1)
add_custom_target(wayfarer_package_documents ALL DEPENDS ${built}/changelog.gz ${built}/wayfarer.1.gz)
install(FILES ${built}/wayfarer.1.gz DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT runtime)
install(FILES ${CMAKE_CURRENT_LIST_DIR}/copyright ${built}/changelog.gz DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/wayfarer COMPONENT runtime)
install(FILES ${CMAKE_CURRENT_LIST_DIR}/copyright ${built}/changelog.gz DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/wayfarer-dev COMPONENT development)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME wayfarer)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "${WAYFARER_PACKAGE_CONTACT}")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
file(GLOB package_modules CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/python/wayfarer/*.py)
# What pip and importlib.metadata know it by.
file(WRITE ${built}/PKG-INFO "Metadata-Version: 2.1\nName: wayfarer\nVersion: ${PROJECT_VERSION}\nSummary: Reads Wayfarer's results and runs its pipelines\nRequires-Dist: h5py\nRequires-Dist: numpy\n")
install(FILES ${package_modules} DESTINATION lib/python3/dist-packages/wayfarer COMPONENT python)
install(FILES ${built}/PKG-INFO DESTINATION lib/python3/dist-packages/wayfarer-${PROJECT_VERSION}.egg-info COMPONENT python)
install(FILES ${CMAKE_CURRENT_LIST_DIR}/copyright ${built}/changelog.gz DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/python3-wayfarer COMPONENT python)
set(CPACK_COMPONENTS_ALL runtime development python)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME wayfarer)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SECTION science)
set(CPACK_DEBIAN_RUNTIME_DESCRIPTION "Runs experiments on language models that a YAML file describes, with sources,
models, probes and metrics as plugins, and writes one self-describing HDF5
file: the same bytes for any number of threads.")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${PROJECT_BINARY_DIR}/lib)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS_POLICY ">=")
file(WRITE ${built}/triggers "activate-noawait ldconfig\n")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_CONTROL_EXTRA ${built}/triggers)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SUGGESTS "wayfarer-dev, python3-wayfarer")
set(CPACK_DEBIAN_PYTHON_PACKAGE_NAME python3-wayfarer)
set(CPACK_DEBIAN_PYTHON_PACKAGE_SECTION python)
set(CPACK_DEBIAN_PYTHON_PACKAGE_ARCHITECTURE all)
set(CPACK_DEBIAN_PYTHON_PACKAGE_SHLIBDEPS OFF)
set(CPACK_DEBIAN_PYTHON_DESCRIPTION "Reads Wayfarer's results as xarray datasets with tokens as coordinates, runs
pipelines from a notebook, and shows what a node found.")
set(CPACK_DEBIAN_PYTHON_PACKAGE_DEPENDS "python3:any, python3-h5py, python3-numpy")
set(CPACK_DEBIAN_PYTHON_PACKAGE_RECOMMENDS "wayfarer, python3-xarray")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME wayfarer-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_DESCRIPTION "Headers and a CMake package: all that a source, model, probe or metric of
one's own needs, with templates for 'wayfarer new'.")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS "wayfarer (= ${PROJECT_VERSION}), librandom123-dev, libstdc++-12-dev | libstdc++-dev")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_RECOMMENDS "cmake (>= 3.25), g++ (>= 4:12), libgtest-dev, libgmock-dev")
include(CPack)
