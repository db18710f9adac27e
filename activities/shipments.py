"""The shipment service."""

from __future__ import annotations

from counteract import Streams, handles
from domain import shipments
from domain.shipments import CreateShipment, Delivered, DeliverPackages, PackagesDelivered, ShipmentPlan


@handles(CreateShipment)
async def create_shipment(command: CreateShipment, streams: Streams) -> ShipmentPlan:
    shipment = await streams.load(shipments.shipments, command.order_id)
    shipment.append(*shipments.create(shipment.state, command))
    return ShipmentPlan(packages=len(shipment.state.packages))


@handles(DeliverPackages)
async def deliver_packages(command: DeliverPackages, streams: Streams) -> Delivered:
    shipment = await streams.load(shipments.shipments, command.order_id)
    events = shipments.deliver(shipment.state, command)
    shipment.append(*events)
    arrived = sum(len(event.packages) for event in events if isinstance(event, PackagesDelivered))
    return Delivered(packages=arrived, is_concluded=not shipment.state.on_the_way)
