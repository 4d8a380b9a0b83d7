"""Tables."""


def show(results: dict) -> None:
    for name, each in results["figures"].items():
        print(name, each["rounds"])
