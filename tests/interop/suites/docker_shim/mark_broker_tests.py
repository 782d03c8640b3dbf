"""pytest plugin (-p mark_broker_tests): notes in the junit file which tests need a broker, told
by the fixtures they ask for."""


def pytest_collection_modifyitems(items):
    for item in items:
        if {"kafka_image", "kafka_broker"} & set(getattr(item, "fixturenames", ())):
            item.user_properties.append(("needs_broker", "yes"))
