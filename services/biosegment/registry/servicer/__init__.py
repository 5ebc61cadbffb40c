"""The record's gRPC services: proto in and out, one transaction a call."""

from biosegment.registry.servicer.annotations import AnnotationServicer
from biosegment.registry.servicer.campaigns import CampaignServicer
from biosegment.registry.servicer.catalog import RegistryServicer

__all__ = ["AnnotationServicer", "CampaignServicer", "RegistryServicer"]
