"""The system's categories: what every person begins with, two levels, the same for all."""

from collections.abc import Iterator
from typing import NamedTuple
from uuid import UUID

from app.core.db import new_id
from app.ledger.categories.system import SYSTEM_CATEGORIES
from app.ledger.categories.tree import name_key
from app.unit_of_work import UnitOfWork


class Group(NamedTuple):
    """A category at the top and those under it, by name and icon; all of one colour."""

    name: str
    icon: str
    color: str
    children: tuple[tuple[str, str], ...]


DEFAULTS = (
    Group("Income", "wallet", "#2E7D32", (
        ("Salary", "briefcase"), ("Bonus", "award"), ("Self-employment", "laptop"), ("Benefits", "hand-coins"),
        ("Tax refund", "receipt"),
    )),
    Group("Housing", "home", "#6D4C41", (
        ("Rent", "key"), ("Mortgage", "landmark"), ("Repairs", "hammer"), ("Furniture", "sofa"),
        ("Property tax", "building"),
    )),
    Group("Utilities", "plug", "#F9A825", (
        ("Electricity", "zap"), ("Heating", "flame"), ("Water", "droplet"), ("Internet", "wifi"), ("Phone", "phone"),
        ("Waste", "trash"),
    )),
    Group("Food", "utensils", "#EF6C00", (
        ("Groceries", "shopping-basket"), ("Restaurants", "chef-hat"), ("Coffee", "coffee"), ("Delivery", "bike"),
        ("Bars", "wine"),
    )),
    Group("Transport", "bus", "#1565C0", (
        ("Public transport", "train"), ("Fuel", "fuel"), ("Parking", "parking"), ("Taxi", "car-taxi"),
        ("Car maintenance", "wrench"), ("Car insurance", "shield-car"),
    )),
    Group("Shopping", "shopping-bag", "#AD1457", (
        ("Clothing", "shirt"), ("Electronics", "monitor"), ("Household", "lamp"), ("Gifts", "gift"),
    )),
    Group("Health", "heart", "#C62828", (
        ("Doctor", "stethoscope"), ("Dentist", "tooth"), ("Pharmacy", "pill"), ("Health insurance", "shield-heart"),
        ("Fitness", "dumbbell"),
    )),
    Group("Personal care", "sparkles", "#8E24AA", (
        ("Hairdresser", "scissors"), ("Cosmetics", "brush"), ("Laundry", "washing-machine"),
    )),
    Group("Family", "users", "#00838F", (
        ("Childcare", "baby"), ("School", "backpack"), ("Pocket money", "piggy-bank"), ("Pets", "paw"),
    )),
    Group("Leisure", "ticket", "#5E35B1", (
        ("Cinema and concerts", "film"), ("Streaming", "play"), ("Games", "gamepad"), ("Hobbies", "palette"),
        ("Sports", "trophy"),
    )),
    Group("Travel", "plane", "#0277BD", (
        ("Flights", "plane-takeoff"), ("Hotels", "bed"), ("Holiday spending", "sun"),
    )),
    Group("Education", "book", "#4527A0", (
        ("Books", "book-open"), ("Courses", "graduation-cap"), ("Tuition", "school"),
    )),
    Group("Finances", "bank", "#37474F", (
        ("Bank fees", "percent"), ("Interest", "trending-down"), ("Insurance", "shield"), ("Taxes", "file-text"),
    )),
    Group("Savings", "piggy-bank", "#00695C", (
        ("Emergency fund", "life-buoy"), ("Retirement", "umbrella"), ("Investments", "trending-up"),
    )),
    Group("Other", "circle", "#757575", (
        ("Donations", "hand-heart"), ("Cash withdrawal", "banknote"), ("Unexpected", "alert-circle"),
    )),
)  # fmt: skip


def ensure_system_categories(uow: UnitOfWork) -> int:
    """Insert those of the defaults that are missing, by parent and name; returns how many.

    What is there already is left as it is. The unit of work must act for everybody.
    """
    with uow:
        added = uow.categories.add_missing([_row(one.name, one.icon, one.color) for one in DEFAULTS])
        tops = {name_key(one.name): one.id for one in uow.categories.list_system_categories() if not one.parent_id}
        added += uow.categories.add_missing(list(_children(tops)))
        if added:
            uow.outdate(SYSTEM_CATEGORIES)
        uow.commit()
    return added


def _children(tops: dict[str, UUID]) -> Iterator[dict[str, object]]:
    for group in DEFAULTS:
        for name, icon in group.children:
            yield _row(name, icon, group.color, tops[name_key(group.name)])


def _row(name: str, icon: str, color: str, parent_id: UUID | None = None) -> dict[str, object]:
    return {
        "id": new_id(),
        "user_id": None,
        "is_system": True,
        "name": name,
        "icon": icon,
        "color": color,
        "parent_id": parent_id,
        "merged_into": None,
    }
