"""The shipment service."""

from __future__ import annotations

from counteract.participants import Streams, handles
from domain import shipments
from domain.shipments import CreateShipment, ShipmentPlan


@handles(CreateShipment)
async def create_shipment(command: CreateShipment, streams: Streams) -> ShipmentPlan:
    shipment = await streams.load(shipments.shipments, command.order_id)
    shipment.append(*shipments.create(shipment.state, command))
    return ShipmentPlan(packages=len(shipment.state.packages))
