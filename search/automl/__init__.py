"""Hardware-aware compression search: the most accurate compressed model that fits a device's budget.

    import automl
    result = automl.search(model, data, target="cpu", budget="50%")
    smaller = automl.compress(result.policy, model, data)

Importing this package loads neither torch nor optuna: names are resolved when they are used.
"""
