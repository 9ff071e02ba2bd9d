"""`mixkd dashboard`: panels of distillation in W&B, and a sweep file for W&B's agents."""

from mixkd.config.commands import DashboardConfig
from mixkd.errors import UserError
from mixkd.files.writing import write_text
from mixkd.request import compose


def dashboard(config: DashboardConfig) -> str:
    """Save the workspace to W&B, or write it and the sweep file into a folder; say where.

    Raises:
        UserError: if a package is missing, overrides are wrong, or W&B refuses.
    """
    try:
        from mixkd.report.dashboard import as_json, sweep_file, workspace
    except ModuleNotFoundError as error:
        text = f"{error.name} is not installed; pip install 'mixkd[dashboard]'"
        raise UserError.of("dashboard", text) from error
    if config.overrides:
        if config.out is None:
            text = "is missing; overrides are for the sweep file that goes there"
            raise UserError.of("out", text)
        compose("distill", config.overrides)  # says what is wrong with them
    made = workspace(config.entity or "me", config.project)
    places = []
    if config.out is not None:
        sweep = config.out / "sweep.yaml"
        write_text(config.out / "workspace.json", as_json(made))
        write_text(sweep, sweep_file(config.overrides))
        places = [f"{config.out}/workspace.json", f"{sweep}: wandb sweep --project PROJECT FILE"]
    if config.entity is not None:
        try:
            places.append(made.save().url)
        except Exception as error:  # whatever W&B's client makes of a missing key or network
            text = f"W&B does not take it: {str(error).splitlines()[0]}; `wandb login` gives a key"
            raise UserError.of("entity", text) from error
    return "\n".join(places)
